import lines_of_code
import pytest
from lines_of_code import count_lines, main

CODE = '''"""A docstring
of two lines."""

from typing import overload  # a comment behind code
import typing

# a comment


class A:
    """A docstring."""

    x = 1
    "The docstring of an attribute."

    @overload
    def f(
        self,
        x: int,
    ) -> int: ...
    @typing.overload
    async def f(self, x: str) -> str: ...
    def f(self, x):
        r"""Straße → a docstring with letters of several bytes."""
        text = """two
        lines"""
        return g(
            text,
        )


def one_line(): """A docstring behind code."""
'''


def test_docstrings_comments_blank_lines_and_overloads_do_not_count():
    assert count_lines(CODE) == 11


@pytest.mark.parametrize("code", ["", "# a comment\n", '"""Only a docstring."""\n', "\n\n"])
def test_a_module_without_code_has_no_lines(code):
    assert count_lines(code) == 0


def test_implicitly_concatenated_docstrings_and_continued_lines():
    assert count_lines('"a docstring" \\\n"in two parts"\n') == 0
    assert count_lines("x = 1 + \\\n    2\n") == 2


def test_the_table_has_packages_by_name_and_files_by_length(workspace, capsys):
    workspace.module("nn-b", "sub/_long.py", "x = 1\n" * 1234)
    main([], workspace.root)
    assert capsys.readouterr().out.splitlines() == [
        "| package or file | lines of code | note |",
        "|---|---:|---|",
        "| **all packages** | **1,242** | |",
        "| **nn-a** | **5** | |",
        "| _lazy.py | 3 | |",
        "| __init__.py | 2 | |",
        "| **nn-b** | **1,237** | |",
        "| sub/_long.py | 1,234 | over 3: no reason is given |",
        "| __init__.py | 3 | |",
    ]
    main(["nn_a"], workspace.root)
    assert "nn-b" not in capsys.readouterr().out


def test_write_makes_check_pass_and_keeps_the_page(workspace):
    with pytest.raises(SystemExit, match="table is not up to date"):
        main(["--check"], workspace.root)
    main(["--write"], workspace.root)
    main(["--check"], workspace.root)
    page = workspace.read("docs/development.md")
    assert page.startswith("Before\n")
    assert page.endswith("\nAfter\n")
    assert "_lazy.py" in page
    main(["--write"], workspace.root)
    assert workspace.read("docs/development.md") == page
    workspace.module("nn-b", "_new.py", "x = 1\n")
    with pytest.raises(SystemExit, match="table is not up to date"):
        main(["--check"], workspace.root)


def test_a_long_file_needs_a_reason_and_a_short_one_none(workspace):
    workspace.module("nn-b", "_long.py", "x = 1\n" * 4)
    main(["--write"], workspace.root)
    with pytest.raises(SystemExit, match=r"nn-b/_long\.py: 4 lines of code, more than 3, and no"):
        main(["--check"], workspace.root)
    manifest = workspace.read("pyproject.toml")
    reasons = '[tool.lines-of-code.reasons]\n"nn-b/_long.py" = "a table of constants"\n'
    workspace.write("pyproject.toml", manifest + reasons)
    main(["--write"], workspace.root)
    main(["--check"], workspace.root)
    assert "| _long.py | 4 | a table of constants |" in workspace.read("docs/development.md")
    workspace.module("nn-b", "_long.py", "x = 1\n" * 3)
    main(["--write"], workspace.root)
    with pytest.raises(SystemExit, match=r"nn-b/_long\.py: a reason is given, but"):
        main(["--check"], workspace.root)


def test_unknown_packages_and_missing_markers_are_errors(workspace):
    with pytest.raises(SystemExit, match="there is no package nn-c"):
        main(["nn-c"], workspace.root)
    with pytest.raises(SystemExit, match="lacks the markers"):
        lines_of_code.replace_table("a page without a table", "")

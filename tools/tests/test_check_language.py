import subprocess

import check_language
import pytest


def test_control_characters_are_found_with_their_line():
    assert list(check_language.control_characters("a\tb\nc\n")) == []
    [(line, problem)] = check_language.control_characters("fine\n\x0crac{1}{2}")
    assert line == 2
    assert "control character '\\x0c'" in problem


def test_a_lost_backslash_in_a_docstring_is_found():
    source = 'def f():\n    """Return.\n\n    :math:`\\frac{1}{2}`\n    """\n'
    [(line, problem)] = check_language.other_forms(source)
    assert line == 4
    assert 'r"""' in problem
    assert list(check_language.other_forms(source.replace('"""Ret', 'r"""Ret'))) == []


@pytest.mark.parametrize(
    "text",
    [
        "4 layers, 128 numbers for a character",
        "the token that fills up",
        "Weights of others",
        "constant between jumps",
        "a rising row of whole numbers",
        "the public door",
        "x is no Tensor",
        "Licence",
        "initialisation",
        "the behaviour",
        "weights: 1 at first",
        "zeros behind the end of a sequence",
        "for layers of your own",
        "the kernel is turned by half a turn",
        '    """Tell whether it is one.',
        "produced NaN from inputs without one",
        "the file was cut short",
        "the share of the samples",
        "minus the logarithm of x",
        "it is no improvement",
        "ValueError: for another reduction",
        "TypeError: for an option of another type.",
        "if a device answers",
        "never read, not even NaN",
        "a layer that reads backward",
        "enlarges images by whole factors",
        "to minimise it",
        "labelled grey pixels",
        "names of Keras are answered with those here",
        "the generators that live in a model",
    ],
)
def test_phrases_are_found(text):
    assert next(iter(check_language.phrases(f"fine\n{text}")))[0] == 2


def test_terms_of_the_field_pass():
    text = (
        "embedding dimension, padding token, initialization, a truth value, is not a Tensor, color"
    )
    assert list(check_language.phrases(text)) == []


def test_docstrings_in_other_forms_are_found():
    numpy_form = '"""Do.\n\nParameters\n----------\nx : int\n"""\n'
    assert [line for line, _ in check_language.other_forms(numpy_form)] == [3]
    fields = 'def f(x):\n    """Do.\n\n    :param x: a number\n    """\n'
    assert [line for line, _ in check_language.other_forms(fields)] == [4]
    google = 'def f(x):\n    """Do.\n\n    Args:\n        x: a number.\n    """\n'
    assert list(check_language.other_forms(google)) == []


@pytest.mark.parametrize(
    "description",
    ["of the file.", "where it is.", "what is read.", "how many samples.", "their dtype."],
)
@pytest.mark.parametrize("section", ["Args", "Attributes"])
def test_arguments_without_a_noun_are_found(section, description):
    source = f'class A:\n    """Do.\n\n    {section}:\n        x: {description}\n    """\n'
    [(line, problem)] = check_language.vague_arguments(source)
    assert line == 5
    assert "describe it by a noun" in problem


def test_arguments_described_by_nouns_pass():
    source = (
        'def f(x, y):\n    """Do.\n\n    Args:\n        x: the path\n            y: of the file\n'
        "        y: what to do: nothing.\n\n    Raises:\n        ValueError: if not.\n\n"
        '    x: of the text\n    """\n'
    )
    assert list(check_language.vague_arguments(source)) == []


def test_tracked_files_are_checked(tmp_path, capsys):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "page.md").write_text("fine\n")
    (tmp_path / "untracked.md").write_text("the public door\n")
    subprocess.run(["git", "add", "page.md"], cwd=tmp_path, check=True)
    with pytest.raises(SystemExit) as done:
        check_language.main([], tmp_path)
    assert not done.value.code
    (tmp_path / "page.md").write_text("the public door\n")
    with pytest.raises(SystemExit) as done:
        check_language.main([], tmp_path)
    assert done.value.code
    assert "page.md:1: 'public door': say extension API" in capsys.readouterr().out

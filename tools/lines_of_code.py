"""Count the lines of code of the packages, by package and by file.

Docstrings, comments, blank lines and the signatures of overloads do not count. The table stands in
docs/development.md. A file longer than the limit needs a reason, in the root's pyproject.toml::

    [tool.lines-of-code.reasons]
    "nn-x/_file.py" = "the reason"
"""

import argparse
import ast
import io
import re
import sys
import tokenize

from workspace import ROOT, find_packages, load_manifest

PAGE = "docs/development.md"
BEGIN, END = "<!-- lines of code: begin -->", "<!-- lines of code: end -->"
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def count_lines(source):
    """Return the number of lines of code in the text of a module."""
    docstrings, overloads = [], set()
    for node in ast.walk(ast.parse(source)):
        if is_docstring(node):
            docstrings.append(span(node))
        if is_overload(node):
            overloads.update(range(node.decorator_list[0].lineno, node.end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        in_docstring = any(a <= token.start and token.end <= b for a, b in docstrings)
        if token.type not in NO_CODE and not in_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - overloads)


def is_docstring(node):
    """Return whether a node of the syntax tree is a string alone, which documents what is above."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def span(node):
    """Return where a node begins and ends, as pairs of line and column."""
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def is_overload(node):
    """Return whether a node of the syntax tree is a signature decorated with `overload`."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return any(ast.unparse(d) in ("overload", "typing.overload") for d in node.decorator_list)


def count_packages(root=ROOT, names=()):
    """Map the name of each package to the lines of code of each of its files."""
    return {
        package.name: {
            path.relative_to(package.source).as_posix(): count_lines(
                path.read_text(encoding="utf-8")
            )
            for path in package.modules.values()
        }
        for package in find_packages(root, names)
    }


def make_table(counts, limit, reasons):
    """Return the Markdown table: packages by name, their files from the longest to the shortest."""
    total = sum(sum(files.values()) for files in counts.values())
    rows = ["| package or file | lines of code | note |", "|---|---:|---|"]
    rows.append(f"| **all packages** | **{total:,}** | |")
    for package, files in counts.items():
        rows.append(f"| **{package}** | **{sum(files.values()):,}** | |")
        for file, lines in sorted(files.items(), key=lambda item: (-item[1], item[0])):
            note = reasons.get(f"{package}/{file}", f"over {limit}: no reason is given")
            rows.append(f"| {file} | {lines:,} | {note + ' ' if lines > limit else ''}|")
    return "\n".join(rows)


def find_problems(counts, limit, reasons):
    """Yield each file that is too long without a reason, and each reason that none needs."""
    lengths = {f"{p}/{f}": lines for p, files in counts.items() for f, lines in files.items()}
    for file, lines in lengths.items():
        if lines > limit and file not in reasons:
            yield f"{file}: {lines} lines of code, more than {limit}, and no reason is given"
    for file in reasons:
        if lengths.get(file, 0) <= limit:
            yield f"{file}: a reason is given, but the file has no more than {limit} lines of code"


def replace_table(page, table):
    """Return the text of a page with the table between its two markers."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE} lacks the markers {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", page)


def main(arguments=None, root=ROOT):
    """Print the table, write it, or fail where it is not up to date or a file is too long."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packages", nargs="*", help="print only these, by default all")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="fail on problems")
    action.add_argument("--write", action="store_true", help=f"refresh the table in {PAGE}")
    options = parser.parse_args(arguments)
    if options.packages and (options.check or options.write):
        parser.error("--check and --write are for all packages")
    settings = load_manifest(root)["tool"]["lines-of-code"]
    limit, reasons = settings["limit"], settings.get("reasons", {})
    counts = count_packages(root, options.packages)
    table = make_table(counts, limit, reasons)
    path = root / PAGE
    if options.write:
        path.write_text(replace_table(path.read_text(encoding="utf-8"), table), encoding="utf-8")
    elif options.check:
        problems = list(find_problems(counts, limit, reasons))
        page = path.read_text(encoding="utf-8")
        if replace_table(page, table) != page:
            problems.append(
                f"{PAGE}: the table is not up to date: python tools/lines_of_code.py --write"
            )
        if problems:
            sys.exit("\n".join(problems))
    else:
        print(table)


if __name__ == "__main__":
    main()

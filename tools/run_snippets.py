"""Run the Python blocks of Markdown files.

The blocks of one file share one namespace, in an empty folder, with warnings as errors. A block
with prompts (``>>>``) is a doctest: what it prints is compared. A block that cannot run carries
``<!-- not run: the reason -->`` on the line above its fence.
"""

import argparse
import doctest
import os
import re
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(text):
    """Yield each block that is to run, with the number of the line before it."""
    for match in BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2].strip()
        if not before.startswith("<!-- not run: "):
            indent = len(match[1])
            code = "".join(line[indent:] or "\n" for line in match[2].splitlines(keepends=True))
            yield text.count("\n", 0, match.start()) + 1, code


def run(path):
    """Run the blocks of one file; return how many ran, or raise what the first bad one raised."""
    namespace = {"__name__": "__main__"}
    count = 0
    for line, code in blocks(path.read_text(encoding="utf-8")):
        if code.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, namespace, path.name, str(path), line)
            if doctest.DocTestRunner().run(test, clear_globs=False).failed:
                raise AssertionError("the block does not print what it says")
            namespace = test.globs
        else:
            # The empty lines make a traceback point into the Markdown file.
            exec(compile("\n" * line + code, str(path), "exec"), namespace)
        count += 1
    return count


def main():
    """Run each file that is named; fail if one fails, or if one has nothing to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--allow-none", action="store_true", help="a file may have no blocks")
    options = parser.parse_args()
    warnings.simplefilter("error")
    failed = False
    for path in [file.resolve() for file in options.files]:
        with tempfile.TemporaryDirectory() as folder:
            back = os.getcwd()
            os.chdir(folder)
            try:
                count = run(path)
                ok = count > 0 or options.allow_none
                print(f"{'ok' if ok else 'NO BLOCKS'}: {path.name} of {path.parent.name}: {count}")
            except Exception:
                traceback.print_exc()
                print(f"FAILED: {path}")
                ok = False
            finally:
                os.chdir(back)
        failed |= not ok
    sys.exit(failed)


if __name__ == "__main__":
    main()

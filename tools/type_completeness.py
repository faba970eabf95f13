"""Check how much of the public interface of installed packages pyright finds typed.

`pyright --verifytypes` counts a symbol as known if every part of its type is written down; a
written `Any` counts as known, so the session `downstream` looks at what users see as well.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

LEAST = 0.95


def completeness(report):
    """Return the part of the exported symbols whose types are known."""
    return report["typeCompleteness"]["completenessScore"]


def incomplete(report):
    """List the exported symbols whose types are not known, each with its first problem."""
    symbols = report["typeCompleteness"]["symbols"]
    wrong = [s for s in symbols if s["isExported"] and not s["isTypeKnown"]]
    return [f"{s['name']}: {d['message']}" for s in wrong for d in s["diagnostics"][:1]]


def verify(package):
    """Return what pyright says of the types of a package."""
    module = package.replace("-", "_")
    command = ["pyright", "--verifytypes", module, "--ignoreexternal", "--outputjson"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(answer.stdout)


def main(packages):
    """Print the score of each package; fail if one is below 95 %."""
    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the first call may install what all need
        reports = [*map(verify, packages[:1]), *pool.map(verify, packages[1:])]
    for package, report in zip(packages, reports, strict=True):
        score = completeness(report)
        print(f"{package}: {score:.1%} of the public symbols have known types")
        if score < LEAST:
            failed = True
            print(*incomplete(report), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

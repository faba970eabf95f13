"""Check the language of all tracked text files: characters, words and the form of docstrings.

    python tools/check_language.py                 # all tracked files
    python tools/check_language.py docs/data.md    # some

No file has a control character: one in a docstring comes from a backslash that was meant for a
formula. No file has a phrase of `PHRASES`, which gives the term of the field in its place. No
docstring has sections in another form than Google's, and each of its arguments and attributes is
described by a noun: ``path: the path of the file``, not ``path: of the file``. A line that has to
say such a phrase, as a changelog that names what was renamed, stands in `ALLOWED` with the reason.
"""

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

from workspace import ROOT

__all__ = [
    "PHRASES",
    "control_characters",
    "main",
    "other_forms",
    "phrases",
    "tracked_files",
    "vague_arguments",
]

TEXT = {".py", ".md", ".toml", ".cfg", ".rst", ".txt", ".yml", ".yaml", ".css", ".js"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# A pattern, case-insensitive, of what begins with a word, and what to say instead.
PHRASES = {
    r"numbers for a (character|piece|token)": "embedding dimension",
    r"pieces? of words?\b": "subword tokens",
    r"\d+ pieces of \d+": "batch size and context length",
    r"unseen text\b.*\bforeseen\b|foreseen\b": "validation loss",
    r"weights of others\b": "pretrained weights",
    r"what was measured\b": "performance, benchmarks",
    r"what it holds\b": "attributes and dtypes",
    r"token that fills up\b|of them fill up\b": "padding",
    r"length of the vectors\b": "model dimension",
    r"share that is dropped\b|kept_share\b": "dropout probability, dropout mask",
    r"pattern of waves\b": "sinusoidal positional encoding",
    r"points of view\b": "multiple heads",
    r"several paths at once\b": "beam search keeps several hypotheses",
    r"kinds of tokens\b": "token-type (segment) embeddings",
    r"scores of the next token\b|one score per class\b|score for each class\b": "logits",
    r"place_back\b|place_of\b": "max_unpool, flat index of the maximum",
    r"retract_rows\b": "layer_norm_backward",
    r"so that none is relied on\b": "prevents co-adaptation",
    r"turned round\b": "flipped",
    r"walks? back through\b": "backward pass",
    r"at its birth\b": "where a NaN first appears",
    r"public door\b|the door is\b": "extension API",
    r"write clock\b|mark_written\b": "version counter, mark_dirty",
    r"constant between jumps\b": "piecewise constant",
    r"forgets? (the gradients?|all|everything)\b": "clear the gradients, reset",
    r"rising row of\b": "strictly increasing integers",
    r"least learning rate\b": "minimum learning rate",
    r"rule's own affair\b": "override to validate",
    r"adapt_to_(root|sum)\b|move_by_sign\b": "rmsprop_step, adagrad_step, lion_step",
    r"pulls? with the force\b": "the gradient is bounded by",
    r"shape that is none\b|part that is none\b": "invalid shape, unknown entry",
    r"truth values\b": "booleans",
    r"behind each other\b": "concatenated",
    r"(machine's )?moods\b": "timing noise",
    r"whole numbers?\b": "integers",
    r"(is|are) no (tensor|array|number|integer|boolean|shape|dict|list|leaf|layer)\b": "is not a",
    r"[01] at first\b|zero at first\b": "initially",
    r"behind the end of\b": "after the end of",
    r"takes? over (a|the) state\b|take over what\b": "load",
    r"(nobody|somebody) else\b|framework's back\b|whoever\b": "name what is meant",
    r"(layers?|loops?|loss|models?|optimizers?|schedules?|class) of your own\b": "custom",
    r"(?<=: )likewise\.": "repeat what is meant",
    r"half a turn\b": "rotated by 180 degrees",
    r'(?<=""")tells? whether\b': "Return whether",
    r"nan from inputs without one\b": "from inputs without NaN",
    r"cut short\b": "truncated",
    r"at the price of\b": "at the cost of",
    r"what (may )?stands? before\b": "prefix",
    r"the share (that|of)\b": "the fraction",
    r"something else than\b": "anything but",
    r"minus the (sum|log|logarithm)\b": "the negative sum, the negative logarithm",
    r"(?<!there )(is|are) no (improvement|parameters?|gpu|function of)\b": "is not a",
    r"\w*Error: for (another|something|an? \w+ of another type)\b": "if `x` is not one of these",
    r"device answers\b": "a CUDA device is available",
    r"not even NaN\b": "may be NaN",
    r"reads? (forward|backward|both ways)\b": "the forward or reverse direction",
    r"asks? (\w+ )*for methods, never for classes\b": "requires methods, not base classes",
    r"goes on bit for bit\b|goes on from\b": "continues, resumes",
    r"whatever ended the run\b": "however the run ends",
    r"(a|by) whole factors?\b": "integer factors",
    r"is a sum and a weight\b": "weighted mean",
    r"(is|are) answered with\b": "raises an error that gives the name",
    r"one kernel each way\b": "one kernel forward and one backward",
    r"generators? that lives? in\b": "the random generators of the model",
    r"tokenisation\b|normalis(e|ation)\b|initialis(e|ation)\b|regularis(e|ation)\b": (
        "American spelling: -ization"
    ),
    r"optimis(e|ation)\b|serialis(e|ation)\b|recognis(e|ing)\b": "American spelling: -iz-",
    r"(minim|maxim|summar|vector|parallel|quant|general)is(e[ds]?|ing|ation)\b": (
        "American spelling: -iz-"
    ),
    r"(custom|visual|organ|util|penal|real)is(e[ds]?|ing|ation)\b": "American spelling: -iz-",
    r"licence\b|colours?\b|behaviour\b|neighbours?\b|centre\b": "American spelling",
    r"(un)?labelled\b|modell(ed|ing)\b|grey\b|towards\b|analyse\b": "American spelling",
}

# All at once: to search for each alone takes five times as long.
ANY_PHRASE = re.compile(rf"\b(?:{'|'.join(f'(?:{p})' for p in PHRASES)})", re.IGNORECASE)

# Files and the phrases that they may have, with the reason.
ALLOWED = {
    "tools/check_language.py": "the list itself",
    "tools/tests/test_check_language.py": "tests the list",
    "packages/nn-tensor/CHANGELOG.md": "names what was renamed",
    "packages/nn-optim/CHANGELOG.md": "names what was renamed",
    "packages/nn-transformer/CHANGELOG.md": "names what was renamed",
}

# The description of an argument that is not a noun, and the sections that have such descriptions.
VAGUE = re.compile(
    r"\*{0,2}\w+: "
    r"(of|which|where|their|they|are|takes|called|draws|what(?! to)|how (many|often|fast|long))\b"
)
DESCRIBING = re.compile(r" *(Args|Attributes):$")

# Section headings of NumPy's form, and fields of reStructuredText's.
OTHER_FORM = re.compile(
    r"^ *(Parameters|Returns|Raises|Examples?|Notes|Yields)\n *-{3,}$"
    r"|^ *:(param|returns?|raises?)\b",
    re.MULTILINE,
)


def tracked_files(root):
    """Return the text files that git tracks below a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    paths = [root / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


def control_characters(text):
    """Yield the line number of each control character, and the problem."""
    for number, line in enumerate(text.split("\n"), 1):
        for match in CONTROL.finditer(line):
            yield number, f'control character {match[0]!r}; in a formula write r""" before it'


def phrases(text):
    """Yield the line number of each phrase to avoid, and what to say instead."""
    for match in ANY_PHRASE.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        matching = (p for p in PHRASES if re.compile(p, re.IGNORECASE).match(text, match.start()))
        yield number, f"{match[0]!r}: say {PHRASES[next(matching)]}"


def other_forms(source):
    """Yield the line number of each docstring that does not have Google sections."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node) or ""
            if match := OTHER_FORM.search(text):
                line = node.body[0].lineno + text.count("\n", 0, match.start())
                yield line, "expected the sections of a docstring in Google's form"
            for number, problem in control_characters(text):
                yield node.body[0].lineno + number - 1, problem


def vague_arguments(source):
    """Yield the line number of each argument or attribute that is described without a noun."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        depth = None  # of the entries, inside a section of them
        for number, line in enumerate((ast.get_docstring(node) or "").split("\n")):
            indent = len(line) - len(line.lstrip())
            if DESCRIBING.match(line):
                depth = indent + 4
            elif line and depth is not None and indent < depth:
                depth = None
            elif indent == depth and VAGUE.match(line.strip()):
                yield node.body[0].lineno + number, f"{line.strip()!r}: describe it by a noun"


def find_problems(paths, root):
    """Yield the problems of files."""
    for path in paths:
        name = path.relative_to(root).as_posix()
        text = path.read_bytes().decode("utf-8")
        found = list(control_characters(text))
        if name not in ALLOWED:
            found += phrases(text)
        if path.suffix == ".py":
            found += other_forms(text)
            found += vague_arguments(text)
        for line, problem in sorted(set(found)):
            yield f"{name}:{line}: {problem}"


def main(arguments=None, root=ROOT):
    """Print every problem and fail if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="by default all tracked files")
    options = parser.parse_args(arguments)
    paths = [path.resolve() for path in options.files] or tracked_files(root)
    problems = list(find_problems(paths, root))
    print("\n".join(problems) or f"the language of {len(paths)} files is in order")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

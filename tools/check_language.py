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

# A pattern, case-insensitive, and what to say instead.
PHRASES = {
    r"\bnumbers for a (character|piece|token)": "embedding dimension",
    r"\bpieces? of words?\b": "subword tokens",
    r"\b\d+ pieces of \d+": "batch size and context length",
    r"\bunseen text\b.*\bforeseen\b|\bforeseen\b": "validation loss",
    r"\bweights of others\b": "pretrained weights",
    r"\bwhat was measured\b": "performance, benchmarks",
    r"\bwhat it holds\b": "attributes and dtypes",
    r"\btoken that fills up\b|\bof them fill up\b": "padding",
    r"\blength of the vectors\b": "model dimension",
    r"\bshare that is dropped\b|\bkept_share\b": "dropout probability, dropout mask",
    r"\bpattern of waves\b": "sinusoidal positional encoding",
    r"\bpoints of view\b": "multiple heads",
    r"\bseveral paths at once\b": "beam search keeps several hypotheses",
    r"\bkinds of tokens\b": "token-type (segment) embeddings",
    r"\bscores of the next token\b|\bone score per class\b|\bscore for each class\b": "logits",
    r"\bplace_back\b|\bplace_of\b": "max_unpool, flat index of the maximum",
    r"\bretract_rows\b": "layer_norm_backward",
    r"\bso that none is relied on\b": "prevents co-adaptation",
    r"\bturned round\b": "flipped",
    r"\bwalks? back through\b": "backward pass",
    r"\bat its birth\b": "where a NaN first appears",
    r"\bpublic door\b|\bthe door is\b": "extension API",
    r"\bwrite clock\b|\bmark_written\b": "version counter, mark_dirty",
    r"\bconstant between jumps\b": "piecewise constant",
    r"\bforgets? (the gradients?|all|everything)\b": "clear the gradients, reset",
    r"\brising row of\b": "strictly increasing integers",
    r"\bleast learning rate\b": "minimum learning rate",
    r"\brule's own affair\b": "override to validate",
    r"\badapt_to_(root|sum)\b|\bmove_by_sign\b": "rmsprop_step, adagrad_step, lion_step",
    r"\bpulls? with the force\b": "the gradient is bounded by",
    r"\bshape that is none\b|\bpart that is none\b": "invalid shape, unknown entry",
    r"\btruth values\b": "booleans",
    r"\bbehind each other\b": "concatenated",
    r"\b(machine's )?moods\b": "timing noise",
    r"\bwhole numbers?\b": "integers",
    r"\b(is|are) no (tensor|array|number|integer|boolean|shape|dict|list|leaf|layer)\b": "is not a",
    r"\b[01] at first\b|\bzero at first\b": "initially",
    r"\bbehind the end of\b": "after the end of",
    r"\btakes? over (a|the) state\b|\btake over what\b": "load",
    r"\b(nobody|somebody) else\b|\bframework's back\b|\bwhoever\b": "name what is meant",
    r"\b(layers?|loops?|loss|models?|optimizers?|schedules?|class) of your own\b": "custom",
    r"^ *\w+: likewise\.": "repeat what is meant",
    r"\bhalf a turn\b": "rotated by 180 degrees",
    r"^ *(r?\"\"\")tells? whether\b": "Return whether",
    r"\bnan from inputs without one\b": "from inputs without NaN",
    r"\bcut short\b": "truncated",
    r"\bat the price of\b": "at the cost of",
    r"\bwhat (may )?stands? before\b": "prefix",
    r"\bthe share (that|of)\b": "the fraction",
    r"\bsomething else than\b": "anything but",
    r"\bminus the (sum|log|logarithm)\b": "the negative sum, the negative logarithm",
    r"(?<!there )\b(is|are) no (improvement|parameters?|gpu|function of)\b": "is not a",
    r"Error: for (another|something|an? \w+ of another type)\b": "if `x` is not one of these",
    r"\bdevice answers\b": "a CUDA device is available",
    r"\bnot even NaN\b": "may be NaN",
    r"\breads? (forward|backward|both ways)\b": "the forward or reverse direction",
    r"\basks? (\w+ )*for methods, never for classes\b": "requires methods, not base classes",
    r"\bgoes on bit for bit\b|\bgoes on from\b": "continues, resumes",
    r"\bwhatever ended the run\b": "however the run ends",
    r"\b(a|by) whole factors?\b": "integer factors",
    r"\bis a sum and a weight\b": "weighted mean",
    r"\b(is|are) answered with\b": "raises an error that gives the name",
    r"\bone kernel each way\b": "one kernel forward and one backward",
    r"\bgenerators? that lives? in\b": "the random generators of the model",
    r"\btokenisation\b|\bnormalis(e|ation)\b|\binitialis(e|ation)\b|\bregularis(e|ation)\b": (
        "American spelling: -ization"
    ),
    r"\boptimis(e|ation)\b|\bserialis(e|ation)\b|\brecognis(e|ing)\b": "American spelling: -iz-",
    r"\b(minim|maxim|summar|vector|parallel|quant|general)is(e[ds]?|ing|ation)\b": (
        "American spelling: -iz-"
    ),
    r"\b(custom|visual|organ|util|penal|real)is(e[ds]?|ing|ation)\b": "American spelling: -iz-",
    r"\blicence\b|\bcolours?\b|\bbehaviour\b|\bneighbours?\b|\bcentre\b": "American spelling",
    r"\b(un)?labelled\b|\bmodell(ed|ing)\b|\bgrey\b|\btowards\b|\banalyse\b": "American spelling",
}

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
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, instead in PHRASES.items():
            if match := re.search(pattern, line, re.IGNORECASE):
                yield number, f"{match[0]!r}: say {instead}"


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

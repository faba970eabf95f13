"""Check the pages that Sphinx has built.

    python tools/check_pages.py docs/_build

The pages need no network: none loads a script, a style, a font or an image from it. And what
people look for is found, by the first result of the search or from the start page in two clicks.
The search runs, and formulas are rendered, in a headless browser, Chromium or Chrome, where one is
installed; NN_BROWSER names another.
"""

import argparse
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urljoin

__all__ = [
    "QUESTIONS",
    "clicks",
    "external_resources",
    "find_browser",
    "first_result",
    "formulas",
    "main",
    "render",
    "rendered_formulas",
]

# What is looked for, the words to search for, and the pages that answer it.
QUESTIONS = [
    (
        "the options of an optimizer",
        "optimizer options",
        ["training.html", "reference/nn-optim.html"],
    ),
    ("the options of Adam", "Adam", ["reference/generated/nn_optim.Adam.html"]),
    ("the shapes of Conv2D", "Conv2D shape", ["reference/generated/nn_layers.Conv2D.html"]),
    ("how to write an op", "new operation", ["extending.html"]),
    ("how to save and load", "save and load", ["saving.html"]),
    ("masks", "masks", ["transformer.html"]),
    ("how to move to a GPU", "move to GPU", ["devices.html"]),
]
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]


class _Page(HTMLParser):
    """Collects the links of a page, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag == "link" and "canonical" not in (attributes.get("rel") or ""):
            self.loads.append(attributes.get("href"))
        elif "src" in attributes:
            self.loads.append(attributes["src"])


def _read(path):
    return _Page(path.read_text(encoding="utf-8"))


def external_resources(folder):
    """Yield each page or style sheet and the address in the network that it loads."""
    for path in sorted(folder.rglob("*.html")):
        for address in _read(path).loads:
            if re.match(r"(https?:)?//", address or ""):
                yield path.relative_to(folder).as_posix(), address
    for path in sorted(folder.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", path.read_text("utf-8")):
            yield path.relative_to(folder).as_posix(), address


def clicks(folder, targets, limit=2):
    """Return how many clicks lead from the start page to a target; None if more than the limit."""
    reached, frontier = {"index.html"}, {"index.html"}
    for number in range(limit + 1):
        if reached & set(targets):
            return number
        found = set()
        for page in frontier:
            for link in _read(folder / page).links:
                target = unquote(urldefrag(urljoin(page, link)).url)
                if target.endswith(".html") and (folder / target).is_file():
                    found.add(target)
        frontier = found - reached
        reached |= found
    return None


def find_browser():
    """Return the path of a browser, or None."""
    names = [os.environ["NN_BROWSER"]] if "NN_BROWSER" in os.environ else BROWSERS
    return next(filter(None, map(shutil.which, names)), None)


def render(browser, address):
    """Return the document at an address after its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=20000", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def first_result(browser, address, words):
    """Search for words in the pages served at an address; return the first result, or None."""
    document = render(browser, f"{address}/search.html?q={quote(words)}")
    match = re.search(r'<ul[^>]* class="search".*?<a href="([^"]+)"', document, re.DOTALL)
    return urldefrag(unquote(match[1])).url if match else None


def formulas(folder):
    """Return the page with the most formulas, and their number."""
    counts = {
        path.relative_to(folder).as_posix(): len(
            re.findall(r'class="math ', path.read_text("utf-8"))
        )
        for path in folder.rglob("*.html")
    }
    page = max(counts, key=counts.__getitem__)
    return page, counts[page]


def rendered_formulas(browser, address):
    """Return how many formulas of a page are rendered, without those that have an error."""
    document = render(browser, address)
    return len(re.findall(r"<mjx-container", document)) - len(
        re.findall(r"data-mjx-error", document)
    )


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _answer_questions(folder, browser):
    """Yield a line for each question, and whether it is answered; then one for the formulas."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for question, words, targets in QUESTIONS:
            number = clicks(folder, targets)
            result = first_result(browser, address, words) if browser else None
            way = f"{number} clicks" if number is not None else "more than 2 clicks"
            found = f"; the search for {words!r} finds {result}" if browser else ""
            yield f"{question}: {way}{found}", number is not None or result in targets
        page, expected = formulas(folder)
        if browser and expected:
            rendered = rendered_formulas(browser, f"{address}/{page}")
            yield f"{page}: {rendered} of {expected} formulas are rendered", rendered == expected
        server.shutdown()


def main(arguments=None):
    """Print what was found, and fail if a page needs the network or a question has no answer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    failed = False
    for page, address in external_resources(options.folder):
        print(f"{page}: loads {address}")
        failed = True
    browser = find_browser()
    if browser is None:
        print("the search is not tried: no browser was found, NN_BROWSER may name one")
    for line, answered in _answer_questions(options.folder, browser):
        print(line if answered else f"NOT FOUND: {line}")
        failed |= not answered
    sys.exit(failed)


if __name__ == "__main__":
    main()

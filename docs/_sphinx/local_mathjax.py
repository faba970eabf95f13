"""Puts MathJax into the pages, so that formulas are rendered without a network.

One file is enough, the one that draws formulas as SVG: it needs no fonts.
"""

from importlib.metadata import files
from pathlib import Path

from sphinx.util.fileutil import copy_asset_file

__all__ = ["copy_mathjax", "setup"]

DISTRIBUTION = "sphinx-mathjax-offline"
SCRIPT = "tex-svg.js"


def copy_mathjax(app, exception):
    """Copy the script into the pages that were built."""
    if exception is None and app.builder.format == "html":
        found = [path for path in files(DISTRIBUTION) or () if path.name == SCRIPT]
        copy_asset_file(str(found[0].locate()), str(Path(app.outdir, "_static", SCRIPT)))


def setup(app):
    """Register the extension."""
    app.config.mathjax_path = SCRIPT
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

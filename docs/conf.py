"""How Sphinx builds these pages."""

import gc
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_sphinx"))

gc.set_threshold(500_000)  # a third of the time went into collections that free little

project = "nn"
author = "the nn authors"
copyright = author
html_title = "nn"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "local_mathjax",
    "completeness",
    "docstrings",
    "links",
]
exclude_patterns = ["_build", "examples/**"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [
    # `name` in a docstring is a link if there is such a name, and else an argument or plain code;
    # an annotation is a link if the reference has an entry for it.
    (r"py:(obj|class)", r".*"),
]

# Markdown
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# The docstrings: Google sections, `name` in single backticks for names and arguments.
default_role = "py:obj"
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_default_options = {"show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 88

# NumPy's names, from a file of this tree: nothing is fetched.
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable/", str(HERE / "_sphinx" / "numpy.inv")),
}
intersphinx_disabled_reftypes = ["std:doc"]

# The theme. What it shows is in the pages: no fonts, scripts or formulas come from the network.
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["nn.css"]
html_search_scorer = str(HERE / "_sphinx" / "search_scorer.js")
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"coming-from-*": []}  # single pages, without the navigation of a section
html_theme_options = {
    "logo": {"text": "nn"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "collapse_navigation": True,  # each page lists its own section: all of them take long to build
    "navigation_with_keys": False,
    "footer_start": [],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

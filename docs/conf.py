"""How Sphinx builds these pages."""

project = "nn"
author = "the nn authors"
extensions = ["myst_parser"]
exclude_patterns = ["_build", "examples/**"]
myst_heading_anchors = 3

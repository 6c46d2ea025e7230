"""How `make docs` builds the site: Sphinx over the Markdown files of this folder."""

project = "PersonaForge"
copyright = "the PersonaForge authors"
extensions = ["myst_parser"]
html_theme = "furo"
myst_heading_anchors = 3
exclude_patterns = ["_build"]

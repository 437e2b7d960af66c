"""How Sphinx builds the documentation: ``make docs``."""

from importlib.metadata import version as installed_version

project = "annealnet"
author = "The annealnet developers"
project_copyright = "The annealnet developers, Apache-2.0"
release = version = installed_version("annealnet")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # a name in single backticks is code
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "alabaster"
html_title = f"annealnet {release}"
html_show_sourcelink = False
html_theme_options = {
    "description": "The discrete decisions of neural networks, solved as energies by annealers.",
    "fixed_sidebar": True,
    "page_width": "1180px",
    "body_max_width": "none",
    "font_family": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans', sans-serif",
    "head_font_family": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans', sans-serif",
    "font_size": "16px",
    "code_font_size": "0.82em",
}

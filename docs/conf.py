"""How Sphinx builds the site: `make docs`."""
from dcgan_mx import __version__

project = "dcgan-mx"
author = "the dcgan-mx team"
version = release = __version__
language = "en"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"dcgan-mx {version}"
html_show_copyright = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"
numpydoc_show_class_members = False

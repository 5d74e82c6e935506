"""Sphinx settings of the API pages: ``sphinx-build -b html docs/api out/api``, with the extra ``jdap[docs]``."""

import jdap

project = "JDAP"
version = release = jdap.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
html_theme = "alabaster"

"""Build the documentation with Sphinx: `make docs` writes build/docs/index.html.

The reference pages are written anew by each build, from the models, the commands and the
docstrings, and so are the figures: none of them can be out of date.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
sys.path.insert(0, str(DOCS.parent))

import figures  # noqa: E402
import reference  # noqa: E402

project = "rhoeps"
author = "the authors of rhoeps"
copyright = author
release = version = version_of("rhoeps")
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "rhoeps"
html_show_sphinx = False
exclude_patterns = ["generated/README.md"]

reference.write(DOCS / "generated")
figures.write(DOCS / "generated")

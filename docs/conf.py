"""The site: `make docs` builds it from these pages, the catalogs and the docstrings, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

import bevel  # noqa: E402  its source lies beside the pages

project, author, copyright = "bevel", "the bevel authors", "the bevel authors"
version = release = bevel.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "sphinx_copybutton"]
extensions += ["mathml", "leaving", "not_found", "cards", "reference", "explorer_page", "tutorials"]  # of docs/_ext
extensions += ["sphinx_gallery.gen_gallery"]  # after cards: a tutorial that it runs registers an activation
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["*-notes.md", "_*", "tutorials/*", "learn/index.rst"]  # notes: parts of pages that commands write
suppress_warnings = ["myst.header"]  # a section that a command adds may start a level down

html_theme = "furo"
html_title = f"bevel {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_baseurl = ""  # the address of the site, where its host tells it; links within the site do not need it
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
nitpicky = False
linkcheck_ignore = [r"https?://"]  # links to other hosts are not followed: the build has no network

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shape"]
napoleon_use_ivar = True

sphinx_gallery_conf = {  # runs a tutorial again only when its text has changed, or what it runs: docs/_ext/tutorials.py
    "examples_dirs": "tutorials",
    "gallery_dirs": "learn",
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1e9,
}

"""How Sphinx builds these pages: `make docs`."""

import base64
import hashlib
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

project = "Driftline"
author = "Driftline's authors"
copyright = author
html_title = "Driftline"
html_theme = "furo"
html_favicon = "../templates/static/driftline.svg"
html_logo = html_favicon
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"light_css_variables": {"font-stack": "system-ui, sans-serif"}}

extensions = ["myst_parser"]
myst_heading_anchors = 3
smartquotes = False


def open_in_place(app: Sphinx, page: str, template: str, context: dict[str, str], doctree: object) -> None:
    """Let browsers show the files of the repository that a page links to; Sphinx has them saved."""
    context["body"] = context.get("body", "").replace(' download=""', "")


def check_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Fail where the theme has another script in its pages than the one that the server lets browsers run."""
    if exception is not None:
        return
    policy = (Path(app.srcdir).parent / "platform/driftline/web/documentation/views.py").read_text()
    page = (Path(app.outdir) / "index.html").read_text()
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        if digest not in policy:
            raise ExtensionError(
                f"The theme has a new script: allow sha256-{digest} in documentation/views.py."
            )


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", open_in_place)
    app.connect("build-finished", check_scripts)

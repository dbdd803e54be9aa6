"""How Sphinx builds these pages: `make docs`."""

from sphinx.application import Sphinx

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


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", open_in_place)

"""Serves the pages that `make docs` built, and the Python client's wheel beside them."""

import mimetypes
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.decorators.http import require_safe

from driftline.base.processes.machine_paths import CHECKOUT

BUILT_PAGES = CHECKOUT / "build" / "docs"
# The theme, Furo, has styles in its markup and one script, which chooses between light and dark: this is its hash, and
# `docs/conf.py` compares it with the script of the pages that it builds.
POLICY: dict[str, list[str]] = {
    **settings.SECURE_CSP,  # type: ignore[dict-item]
    "script-src": [CSP.SELF, "'sha256-ySvT2PEZeueHGC1y2crNuNTfphBynFPP7i+U21fEgX0='"],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
}


@require_safe
@csp_override(POLICY)
def documentation(request: HttpRequest, path: str) -> HttpResponse:
    """Return a file of the documentation to anybody, or say that it is not built yet."""
    if not (BUILT_PAGES / "index.html").exists():
        return render(request, "pages/documentation.html", status=503)
    file = _built_file(path)
    return HttpResponse(file.read_bytes(), content_type=_content_type(file))


def client_wheel() -> str:
    """Return the name of the Python client's wheel among the built pages; empty where it was not built."""
    return next((file.name for file in sorted(BUILT_PAGES.glob("driftline_client-*.whl"))), "")


def _built_file(path: str) -> Path:
    """Return the file of the built pages that `path` names; raise Http404 where there is none."""
    with suppress(OSError, ValueError):  # of a name that no file can have: too long, or with a null byte
        file = (BUILT_PAGES / path).resolve()
        if file.is_relative_to(BUILT_PAGES) and file.is_file():
            return file
    raise Http404


def _content_type(file: Path) -> str:
    """Name the type of a file; those of the repository that pages link to are shown as text."""
    if "_downloads" in file.parts:
        return "text/plain; charset=utf-8"
    return mimetypes.guess_type(file.name)[0] or "application/octet-stream"

"""Parts of features on the pages of others."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string

from driftline.base.feature import PagePart


def render_parts(
    request: HttpRequest, parts: Iterable[PagePart | None], subject: object, known: Mapping[str, Any]
) -> list[str]:
    """Render what features add to the page of a subject; their templates also see what is `known`."""
    return [
        render_to_string(part.template, {**known, **part.context(subject)}, request)
        for part in parts
        if part is not None
    ]

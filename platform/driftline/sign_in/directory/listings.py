"""Pages of users and groups, and the filters by which providers look for one (RFC 7644, 3.4.2)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Model, Q, QuerySet

from driftline.sign_in.directory.descriptions import MAX_LISTED
from driftline.sign_in.directory.refusals import DirectoryRefusal

DEFAULT_LISTED = 100
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_FILTER = re.compile(r'\s*(?P<name>[\w.]+)\s+eq\s+"(?P<value>(?:[^"\\]|\\["\\/]){0,254})"\s*', re.IGNORECASE)
_MAX_NUMBER = 10**9

type Lookup = Callable[[str], Q]

USER_FILTERS: Mapping[str, Lookup] = {
    "id": lambda text: _id(text),
    "username": lambda text: Q(directory_name__iexact=text) | Q(directory_name="", email__iexact=text),
    "externalid": lambda text: Q(external_id=text) & ~Q(external_id=""),
    "emails.value": lambda text: Q(email__iexact=text),
    "emails": lambda text: Q(email__iexact=text),
}
GROUP_FILTERS: Mapping[str, Lookup] = {
    "id": lambda text: _id(text),
    "displayname": lambda text: Q(display_name=text),
    "externalid": lambda text: Q(external_id=text) & ~Q(external_id=""),
}


def list_page[Row: Model](
    rows: QuerySet[Row],
    asked: Mapping[str, str],
    filters: Mapping[str, Lookup],
    write: Callable[[Row], dict[str, Any]],
) -> dict[str, Any]:
    """Return a page of the rows that are asked for; raises `DirectoryRefusal` for a filter that is not known."""
    if text := asked.get("filter"):
        rows = rows.filter(_condition(text, filters))
    start = max(1, _number(asked, "startIndex", 1))
    count = min(MAX_LISTED, max(0, _number(asked, "count", DEFAULT_LISTED)))
    page = list(rows[start - 1 : start - 1 + count])
    return {
        "schemas": [LIST],
        "totalResults": rows.count(),
        "startIndex": start,
        "itemsPerPage": len(page),
        "Resources": [write(one) for one in page],
    }


def _condition(text: str, filters: Mapping[str, Lookup]) -> Q:
    match = _FILTER.fullmatch(text)
    lookup = filters.get(match["name"].lower()) if match else None
    if match is None or lookup is None:
        raise DirectoryRefusal(
            400, f'A filter is an attribute, eq and a text, such as {min(filters)} eq "a"; of {", ".join(filters)}.',
            "invalidFilter",
        )  # fmt: skip
    return lookup(re.sub(r"\\(.)", r"\1", match["value"]).replace("\x00", ""))


def _id(text: str) -> Q:
    return Q(pk=int(text)) if text.isascii() and text.isdecimal() and len(text) < 19 else Q(pk=None)


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    try:
        number = int(asked.get(name) or default)
    except ValueError as error:
        raise DirectoryRefusal(400, f"{name} is no whole number.", "invalidValue") from error
    if abs(number) > _MAX_NUMBER:
        raise DirectoryRefusal(400, f"{name} is too large.", "invalidValue")
    return number

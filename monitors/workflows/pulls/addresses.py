"""Addresses of files: what a person names, checked, and the URL that is asked for it."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from django.conf import settings

from driftline.base.errors import invalid
from driftline.base.outbound.redirected import MAX_URL_LETTERS
from driftline.base.outbound.targets import check_target
from driftline.base.strict_json import printable
from monitors.workflows.pulls.models import Pull

MAX_SHOWN_LETTERS = 500
MAX_FILE_LETTERS = 200
MAX_KEPT_LETTERS = 700
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """Where a file is; `query` is what stands behind the `?` of its URL, which may be a signature."""

    source: Pull.Source
    url: str
    query: str = ""
    repository: str = ""
    revision: str = ""
    file: str = ""


def web_address(url: str, pointer: str = "/url") -> Address:
    """Read the URL of a file; raises Problem for one that must not be called."""
    checked = check_target(url.strip(), pointer, max_length=MAX_URL_LETTERS).url.partition("#")[0]
    shown, _, query = checked.partition("?")
    if len(shown) > MAX_SHOWN_LETTERS:
        raise invalid(
            pointer,
            f"The URL has {len(shown):,} characters before its query; use at most {MAX_SHOWN_LETTERS}.",
        )
    return Address(Pull.Source.URL, shown, query)


def hub_address(repository: str, revision: str, file: str, pointer: str = "/hugging_face") -> Address:
    """Name a file of a repository of the hub; raises Problem at the part that could never be one."""
    repository, revision, file = repository.strip(), revision.strip() or "main", file.strip()
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise invalid(
            f"{pointer}/repository",
            f"{printable(repository)[:64]!r} is no repository; use its owner and name, as in org/name.",
        )
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise invalid(
            f"{pointer}/revision",
            f"{printable(revision)[:64]!r} is no revision; use a branch, a tag or a commit.",
        )
    if not _is_path(file):
        raise invalid(
            f"{pointer}/file",
            f"{printable(file)[:64]!r} is no path of a file; use one such as onnx/model.onnx, in up to "
            f"{MAX_FILE_LETTERS} characters.",
        )
    url = f"{settings.HUGGING_FACE_URL}/{repository}/resolve/{quote(revision, safe='')}/{quote(file)}"
    if len(url) > MAX_KEPT_LETTERS:
        raise invalid(
            pointer,
            f"The address of this file has {len(url):,} characters; at most {MAX_KEPT_LETTERS} are kept.",
        )
    check_target(url, pointer, max_length=MAX_URL_LETTERS)
    return Address(Pull.Source.HUGGING_FACE, url, "", repository, revision, file)


def _is_path(file: str) -> bool:
    parts = file.split("/")
    is_short = len(file) <= MAX_FILE_LETTERS and len(quote(file)) <= 2 * MAX_FILE_LETTERS
    return is_short and file.isprintable() and not {"", ".", ".."} & set(parts)

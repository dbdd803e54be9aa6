"""Changes of parts of a document (RFC 7644, 3.5.2), as far as providers send them.

A document of the attributes that are kept is changed and read anew, so that a patch is checked as a whole document is.
Attributes that are not kept are passed over, as they are in a whole document.
"""

import re
from typing import Any

from driftline.sign_in.directory.refusals import DirectoryRefusal, wrong_value

MAX_OPERATIONS = 1_000
_PATH = re.compile(
    r'(?:urn:[\w:.-]+:)?(?P<name>[A-Za-z]\w*)(?:\[(?P<key>\w+)\s+eq\s+"(?P<value>[^"\\]{0,254})"\])?(?:\.(?P<part>\w+))?',
    re.IGNORECASE,
)

type Document = dict[str, Any]


def patched(document: Document, body: Document, kept: tuple[str, ...]) -> Document:
    """Return a document after the operations of a patch; `kept` are the attributes that there are."""
    operations = body.get("Operations")
    if not isinstance(operations, list) or not 0 < len(operations) <= MAX_OPERATIONS:
        raise DirectoryRefusal(
            400, f"A patch holds Operations, at least one and at most {MAX_OPERATIONS:,}.", "invalidSyntax"
        )
    for operation in operations:
        verb = str(operation.get("op", "")).lower() if isinstance(operation, dict) else ""
        if verb not in ("add", "remove", "replace"):
            raise DirectoryRefusal(400, "An operation's op is add, remove or replace.", "invalidSyntax")
        document = _apply(document, verb, operation.get("path"), operation.get("value"), kept)
    return document


def _apply(document: Document, verb: str, path: Any, value: Any, kept: tuple[str, ...]) -> Document:
    if path is None or path == "":
        if verb == "remove":
            raise DirectoryRefusal(400, "A removal needs a path.", "noTarget")
        if not isinstance(value, dict):
            raise wrong_value("An operation without a path has an object of attributes as its value.")
        for name, one in value.items():
            document = _apply(document, verb, name, one, kept)
        return document
    match = _PATH.fullmatch(path) if isinstance(path, str) and len(path) <= 500 else None
    if match is None:
        raise DirectoryRefusal(
            400,
            f"The path {str(path)[:100]!r} cannot be read; use one such as active or members.",
            "invalidPath",
        )
    name = next((one for one in kept if one.lower() == match["name"].lower()), None)
    if name is None:
        return document
    if match["key"] is not None:
        return document | {name: _in_list(document.get(name) or [], verb, match, value)}
    if match["part"] is not None:
        return document | {name: _in_object(document.get(name) or {}, verb, match["part"], value)}
    return document | {name: _whole(document.get(name), verb, value)}


def _whole(before: Any, verb: str, value: Any) -> Any:
    """Change an attribute: a list is added to, anything else is replaced; a removal may say which entries."""
    if isinstance(before, list):
        return _whole_list(before, verb, value)
    if verb == "remove":
        return None
    if verb == "add" and isinstance(before, dict) and isinstance(value, dict):
        return before | value
    return value


def _whole_list(before: list[Document], verb: str, value: Any) -> list[Document]:
    """Change a list of entries, each of which is an object."""
    if verb == "remove" and value is None:
        return []
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in entries):
        raise wrong_value("An entry of a list is an object.")
    if verb == "remove":
        dropped = [one.get("value") for one in entries]
        return [one for one in before if one.get("value") not in dropped]
    return [*(before if verb == "add" else []), *entries]


def _in_list(before: Any, verb: str, match: re.Match[str], value: Any) -> list[Any]:
    """Change the entries of a list of which an attribute has a value."""
    if not isinstance(before, list):
        raise DirectoryRefusal(400, f"{match['name']} has no entries to choose from.", "invalidPath")
    key, wanted, part = match["key"], match["value"], match["part"]
    fits = [isinstance(one, dict) and str(one.get(key, "")).lower() == wanted.lower() for one in before]
    if verb == "remove":
        return [one for one, is_meant in zip(before, fits, strict=True) if not is_meant]
    change = {part: value} if part else value
    if not isinstance(change, dict):
        raise wrong_value("The value of an entry is an object.")
    if not any(fits):
        return [*before, {key: wanted} | change]
    return [one | change if is_meant else one for one, is_meant in zip(before, fits, strict=True)]


def _in_object(before: Any, verb: str, part: str, value: Any) -> Any:
    if not isinstance(before, dict):
        raise DirectoryRefusal(400, f"There is no part {part[:40]!r} to change.", "invalidPath")
    name = next((one for one in before if one.lower() == part.lower()), part)
    return before | {name: None if verb == "remove" else value}

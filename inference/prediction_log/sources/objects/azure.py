"""A container of Azure Blob Storage, with the key of its storage account.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from driftline.base.clock import now
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.remote_store import RemoteStore, code_of, read_xml
from inference.connectors.objects.store import ObjectInfo

VERSION = "2021-08-06"  # of the protocol
PAGE = 5_000  # objects, as many as Azure lists at once
_SIGNED = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


class AzureContainer(RemoteStore):
    """Lists and reads one container; the access key's id is the name of the storage account."""

    range_header = "x-ms-range"

    place = "container"
    following_parameter = "marker"

    def first_page_query(self) -> dict[str, str]:
        """Ask for five thousand."""
        query = {"restype": "container", "comp": "list", "maxresults": str(PAGE)}
        return query | ({"prefix": self._settings.prefix} if self._settings.prefix else {})

    def read_page(self, body: bytes) -> tuple[list[ObjectInfo], str]:
        """Return the blobs of a page, and the marker of the next one."""
        try:
            root = read_xml(body)
            if root.tag != "EnumerationResults":
                raise ValueError(root.tag)
            page = [_info(one) for one in root.iterfind("Blobs/Blob")]
            return page, root.findtext("NextMarker") or ""
        except (ElementTree.ParseError, ValueError, TypeError) as error:
            raise ConnectorFailed(
                "The store's listing cannot be read; is this the endpoint of an Azure storage account?"
            ) from error

    def sign(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Sign by the account's shared key."""
        given = {name.lower(): value for name, value in headers.items()}
        given |= {"x-ms-date": format_datetime(now(), usegmt=True), "x-ms-version": VERSION}
        plain = {"accept-encoding": "identity"}
        if not self._settings.access_key_id:
            return plain | given
        signature = _signature(
            self._secret, _text_to_sign(method, self._resource(path, query), given, len(body))
        )
        return plain | given | {"authorization": f"SharedKey {self._settings.access_key_id}:{signature}"}

    def _resource(self, path: str, query: Mapping[str, str]) -> str:
        base = urlsplit(self._settings.url()).path  # an emulator has the account there
        lines = [f"{name.lower()}:{value}" for name, value in sorted(query.items())]
        return "\n".join([f"/{self._settings.access_key_id}{base}{path}", *lines])

    def _is_archived(self, status: int, body: bytes) -> bool:
        return status == 409 and code_of(body) in ("BlobArchived", "BlobBeingRehydrated")


def _text_to_sign(method: str, resource: str, headers: Mapping[str, str], length: int) -> str:
    own = dict(headers) | ({"content-length": str(length)} if length else {})
    lines = [method, *(own.get(name, "") for name in _SIGNED)]
    lines += [f"{name}:{own[name].strip()}" for name in sorted(own) if name.startswith("x-ms-")]
    return "\n".join([*lines, resource])


def _signature(key: str, text: str) -> str:
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConnectorFailed("The secret is no key of a storage account, which is base64.") from error
    return base64.b64encode(hmac.digest(secret, text.encode(), hashlib.sha256)).decode()


def _info(blob: ElementTree.Element) -> ObjectInfo:
    name = blob.find("Name")
    path = "" if name is None else name.text or ""
    if name is not None and name.get("Encoded") == "true":  # it has characters that XML cannot hold
        path = unquote(path)
    properties = blob.find("Properties")
    if not path or properties is None:
        raise ValueError("a blob without a name or properties")
    tag = properties.findtext("Etag", "").strip('"')
    modified = parsedate_to_datetime(properties.findtext("Last-Modified", ""))
    return ObjectInfo(
        path=path,
        etag=f'"{tag}"'[:100],
        size=int(properties.findtext("Content-Length", "0")),
        modified_us=int(modified.timestamp() * 1e6),
    )

"""A bucket of Google Cloud Storage by its JSON API, with the key of a service account, or none where it is public.

https://cloud.google.com/storage/docs/json_api
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from driftline.base.errors import UNREADABLE
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.remote_store import RemoteStore
from inference.connectors.objects.settings import StoreSettings
from inference.connectors.objects.store import ObjectInfo
from inference.prediction_log.sources.service_account import ServiceAccount

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
PAGE = 1_000  # objects, as many as Google lists at once
_FIELDS = "kind,nextPageToken,items(name,generation,size,updated)"

type _Number = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$")]


class _Item(Struct):
    name: Annotated[str, Meta(min_length=1)]
    generation: _Number
    size: _Number
    updated: Annotated[datetime, Meta(tz=True)]


class _Page(Struct):
    kind: Literal["storage#objects"]  # without which any object of JSON would be an empty bucket
    items: list[_Item] = []
    nextPageToken: str = ""


class GcsBucket(RemoteStore):
    """Lists and reads one bucket; an object is known by its generation, which every writing of it changes."""

    place = "bucket"
    following_parameter = "pageToken"

    def __init__(self, settings: StoreSettings, secret: str, *, deadline: float = float("inf")) -> None:
        super().__init__(settings, secret, deadline=deadline)
        self._account: ServiceAccount | None = None

    def first_page_query(self) -> dict[str, str]:
        """Ask for a thousand, and of each for what is read alone."""
        query = {"maxResults": str(PAGE), "fields": _FIELDS}
        return query | ({"prefix": self._settings.prefix} if self._settings.prefix else {})

    def read_page(self, body: bytes) -> tuple[list[ObjectInfo], str]:
        """Return the objects of a page, and the token of the next one."""
        try:
            page = msgspec.json.decode(body, type=_Page)
        except UNREADABLE as error:
            raise ConnectorFailed(
                "The store's listing cannot be read; is this the endpoint of Google Cloud Storage?"
            ) from error
        return [_info(item) for item in page.items], page.nextPageToken

    def path_of(self, key: str) -> str:
        """Return the path of an object, with the slashes of its name quoted; of the bucket's list for no key."""
        path = f"/storage/v1/b/{self._settings.bucket}/o"
        return f"{path}/{quote(key, safe='')}" if key else path

    def range_query(self, info: ObjectInfo) -> dict[str, str]:
        """Ask for the content of the generation that was listed; where there is another one, it is missing."""
        return {"alt": "media", "generation": info.etag}

    def get(
        self, key: str, query: Mapping[str, str], headers: dict[str, str], max_bytes: int
    ) -> tuple[int, bytes]:
        """Return status and body of a GET; see `RemoteStore`. A token that is refused is not sent again."""
        status, body = super().get(key, query, headers, max_bytes)
        if status == 401 and self._account is not None:
            self._account.forget_token()
        return status, body

    def sign(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Add a token of the service account.

        Content is taken as it is stored: for callers that take no gzip, Google unpacks what is marked as packed.
        """
        plain = {"accept-encoding": "gzip" if "alt" in query else "identity"}
        if not self._secret:
            return plain | dict(headers)
        if self._account is None:
            self._account = ServiceAccount(self._secret, self._settings.url(), SCOPE)
        token = self._account.token(self.seconds_left())
        return plain | dict(headers) | {"authorization": f"Bearer {token}"}

    def _is_archived(self, status: int, body: bytes) -> bool:
        return False  # objects of every storage class are given at once


def _info(item: _Item) -> ObjectInfo:
    return ObjectInfo(
        path=item.name,
        etag=item.generation,
        size=int(item.size),
        modified_us=int(item.updated.timestamp() * 1e6),
    )

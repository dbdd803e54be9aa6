"""A bucket of S3, or of what speaks its protocol."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

from driftline.common.clock import now
from inference.prediction_log.sources.messages import AdapterFailed
from inference.prediction_log.sources.objects.remote_store import (
    MAX_PAGE_BYTES,
    RemoteStore,
    code_of,
    describe_status,
    read_xml,
)
from inference.prediction_log.sources.objects.signature import signed_headers
from inference.prediction_log.sources.objects.store import ObjectInfo

PAGE = 1_000  # objects, as many as S3 lists at once


class Bucket(RemoteStore):
    """Lists, reads and writes one bucket of S3."""

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        """Give the objects with the prefix, a thousand at a time."""
        query = {"list-type": "2", "max-keys": str(PAGE), "prefix": self._settings.prefix}
        query["encoding-type"] = "url"  # XML cannot hold every character of a name
        while True:
            status, body = self.get("", query, {}, MAX_PAGE_BYTES)
            if status != 200:
                raise AdapterFailed(
                    f"The bucket cannot be listed: the store answered {describe_status(status, body)}."
                )
            page, following = _read_page(body)
            yield page
            if not following:
                return
            query["continuation-token"] = following

    def sign(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Sign by AWS Signature Version 4."""
        plain = {"accept-encoding": "identity"}
        if not self._settings.access_key_id:
            return {**plain, **headers}
        return plain | signed_headers(
            host=urlsplit(self._settings.url()).netloc,
            path=path,
            query=query,
            headers=headers,
            region=self._settings.region,
            key_id=self._settings.access_key_id,
            secret=self._secret,
            now=now(),
            method=method,
            body=body,
        )

    def _is_archived(self, status: int, body: bytes) -> bool:
        return status == 403 and code_of(body) == "InvalidObjectState"


def _read_page(body: bytes) -> tuple[list[ObjectInfo], str]:
    """Return the objects of a page, and by what the next one is asked for; empty at the last."""
    try:
        root = read_xml(body)
        tag, found, _ = root.tag.partition("ListBucketResult")
        if not found:
            raise ValueError(root.tag)
        read_key = unquote_plus if root.findtext(f"{tag}EncodingType") == "url" else str
        page = [
            ObjectInfo(
                path=read_key(one.findtext(f"{tag}Key", "")),
                etag=one.findtext(f"{tag}ETag", one.findtext(f"{tag}LastModified", ""))[:100],
                size=int(one.findtext(f"{tag}Size", "0")),
                modified_us=int(
                    datetime.fromisoformat(one.findtext(f"{tag}LastModified", "")).timestamp() * 1e6
                ),
            )
            for one in root.iterfind(f"{tag}Contents")
        ]
        return page, root.findtext(f"{tag}NextContinuationToken", "")
    except (ElementTree.ParseError, ValueError) as error:
        raise AdapterFailed(
            "The store's listing cannot be read; is this the endpoint of an S3 store?"
        ) from error

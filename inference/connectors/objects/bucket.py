"""A bucket of S3, or of what speaks its protocol."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

from driftline.base.clock import now
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.remote_store import RemoteStore, code_of, read_xml
from inference.connectors.objects.signature import signed_headers
from inference.connectors.objects.store import ObjectInfo

PAGE = 1_000  # objects, as many as S3 lists at once


class Bucket(RemoteStore):
    """Lists, reads and writes one bucket of S3."""

    place = "bucket"
    following_parameter = "continuation-token"

    def first_page_query(self) -> dict[str, str]:
        """Ask for a thousand; XML cannot hold every character of a name, so they come as in a URL."""
        query = {"list-type": "2", "max-keys": str(PAGE), "prefix": self._settings.prefix}
        return query | {"encoding-type": "url"}

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

    def read_page(self, body: bytes) -> tuple[list[ObjectInfo], str]:
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
            raise ConnectorFailed(
                "The store's listing cannot be read; is this the endpoint of an S3 store?"
            ) from error

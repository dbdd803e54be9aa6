"""A lake in a bucket of S3, or of what speaks its protocol: a file is a multipart upload, which is completed at once.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.bucket import Bucket
from inference.connectors.objects.remote_store import PAUSES_SECONDS, StoreAnswer
from inference.connectors.objects.store import ObjectInfo, ObjectMissing, ObjectRefused
from inference.prediction_log.lake.settings import LakeSettings

PART_BYTES = 8 << 20  # of which an upload may have 10,000


class LakeBucket:
    """Writes and reads files of one bucket; see `LakeStore`."""

    def __init__(self, settings: LakeSettings, secret: str) -> None:
        self._bucket = Bucket(settings, secret)

    def begin(self, name: str) -> str:
        """Begin an upload; returns its id."""
        answer = self._request("POST", name, {"uploads": ""})
        upload = _find(answer, "UploadId")
        if not upload:
            raise ConnectorFailed("The store began no upload; is this the endpoint of an S3 store?")
        return upload

    def send(self, name: str, draft: str, content: IO[bytes]) -> Sequence[str]:
        """Upload the parts; returns their tags."""
        tags: list[str] = []
        while part := content.read(PART_BYTES):
            query = {"partNumber": str(len(tags) + 1), "uploadId": draft}
            tags.append(self._request_patiently("PUT", name, query, part).headers.get("ETag", ""))
        return tags

    def commit(self, name: str, draft: str, sent: Sequence[str]) -> None:
        """Complete an upload."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in enumerate(sent, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._request("POST", name, {"uploadId": draft}, body)
        if b"<CompleteMultipartUploadResult" not in answer.body:  # a failure may come after the status 200
            raise ConnectorFailed(f"The store did not complete an upload: it answered {answer.describe()}.")

    def discard(self, name: str, draft: str) -> None:
        """Abort an upload."""
        answer = self._bucket.exchange("DELETE", name, query={"uploadId": draft}, headers={})
        if answer.status != 404 and not 200 <= answer.status < 300:
            raise _refused(answer)

    def write(self, name: str, content: bytes) -> None:
        """Upload a small file."""
        self._request("PUT", name, {}, content)

    @contextmanager
    def read(self, name: str) -> Iterator[IO[bytes] | None]:
        """Open a file as it is now."""
        answer = self._bucket.exchange("HEAD", name, query={}, headers={})
        if answer.status == 404:
            yield None
            return
        if answer.status != 200:
            raise _refused(answer)
        size, tag = int(answer.headers.get("Content-Length", 0)), answer.headers.get("ETag", "")
        info = ObjectInfo(path=name, etag=tag, size=size, modified_us=0)
        try:
            with self._bucket.open(info) as content:
                yield content
        except (ObjectMissing, ObjectRefused) as error:
            raise ConnectorFailed(f"{name} cannot be read now: {error}.") from error

    def close(self) -> None:
        """Close the connection."""
        self._bucket.close()

    def _request_patiently(
        self, method: str, name: str, query: Mapping[str, str], body: bytes
    ) -> StoreAnswer:
        for pause in PAUSES_SECONDS:
            try:
                return self._request(method, name, query, body)
            except ConnectorFailed:
                time.sleep(pause)
        return self._request(method, name, query, body)

    def _request(self, method: str, name: str, query: Mapping[str, str], body: bytes = b"") -> StoreAnswer:
        answer = self._bucket.exchange(method, name, query=query, headers={}, body=body)
        if not 200 <= answer.status < 300:
            raise _refused(answer)
        return answer


def _refused(answer: StoreAnswer) -> ConnectorFailed:
    return ConnectorFailed(f"The bucket refused a request: it answered {answer.describe()}.")


def _find(answer: StoreAnswer, name: str) -> str:
    """Return the text of an element of an answer, in whatever namespace; empty where there is none."""
    text = answer.body.decode("utf-8-sig", errors="replace")
    if "<!DOCTYPE" in text:
        return ""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return ""
    return next((one.text or "" for one in root.iter() if one.tag.rpartition("}")[2] == name), "")

"""A server that speaks as much of S3 as is used of it: listings in pages, ranges of objects, uploads in parts.

It has what a real one shows only now and then: `answers` of statuses, and objects that change between two requests.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

PAGE = 3


@dataclass
class BucketServer:
    """The objects of one bucket by their keys, and what was asked."""

    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(
        default_factory=dict
    )  # instead of an object, or of the listing: ""
    encodes: bool = True  # the names of a listing; some stores do not
    failures: dict[str, int] = field(default_factory=dict)  # so many times an object is answered by 503
    listings: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)  # parts by the ids of what was begun

    def etag(self, key: str) -> str:
        return f'"{hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()}"'

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of a GET."""
        parts = urlsplit(path)
        key = unquote(parts.path).removeprefix("/scores").removeprefix("/")
        self.requests.append((key, headers))
        if self.failures.get(key):
            self.failures[key] -= 1
            return 503, b"<Error><Code>SlowDown</Code></Error>"
        if key in self.answers:
            return self.answers[key]
        if not key:
            return 200, self._page({name: values[0] for name, values in parse_qs(parts.query).items()})
        if key not in self.objects:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>"
        if headers["if-match"] != self.etag(key):
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>"
        first, last = headers["range"].removeprefix("bytes=").split("-")
        return 206, self.objects[key][int(first) : int(last) + 1]

    def write(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of what changes an object, or an upload of one."""
        parts = urlsplit(path)
        key = unquote(parts.path).removeprefix("/scores").removeprefix("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if key in self.answers:
            return self.answers[key]
        if "uploads" in query:
            upload = f"upload-{len(self.requests)}-{len(self.uploads)}"
            self.uploads[upload] = {}
            document = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return 200, document.encode()
        if method == "PUT" and not query:
            self.objects[key] = body
            return 200, b""
        if query["uploadId"] not in self.uploads:
            return 404, b"<Error><Code>NoSuchUpload</Code></Error>"
        if method == "PUT":
            self.uploads[query["uploadId"]][int(query["partNumber"])] = body
            return 200, b""
        sent = self.uploads.pop(query["uploadId"])
        if method == "DELETE":
            return 204, b""
        self.objects[key] = b"".join(sent[number] for number in sorted(sent))
        return 200, b"<CompleteMultipartUploadResult/>"

    def _page(self, query: dict[str, str]) -> bytes:
        start = int(query.get("continuation-token", 0))
        self.listings += start == 0
        keys = sorted(
            (key for key in self.objects if key.startswith(query.get("prefix", ""))), key=str.encode
        )
        contents = "".join(
            f"<Contents><Key>{quote_plus(key) if self.encodes else key}</Key><ETag>{self.etag(key)}</ETag>"
            f"<Size>{len(self.objects[key])}</Size>"
            "<LastModified>2026-01-05T10:00:00.000Z</LastModified></Contents>"
            for key in keys[start : start + PAGE]
        )
        more = start + PAGE < len(keys)
        following = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        name = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        encoding = "<EncodingType>url</EncodingType>" if self.encodes else ""
        text = f"<ListBucketResult {name}>{encoding}{contents}{following}</ListBucketResult>"
        return text.encode()


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """Serve a bucket named scores until the block ends."""
    bucket = BucketServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = bucket.answer(self.path, headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            key = unquote(urlsplit(self.path).path).removeprefix("/scores/")
            is_there = key in bucket.objects
            self.send_response(200 if is_there else 404)
            self.send_header("ETag", bucket.etag(key) if is_there else "")
            self.send_header("Content-Length", str(len(bucket.objects.get(key, b""))))
            self.end_headers()

        def _write(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = bucket.write(self.command, self.path, content)
            self.send_response(status)
            self.send_header("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = _write

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        bucket.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()

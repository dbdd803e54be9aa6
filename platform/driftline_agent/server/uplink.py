"""Asks and tells the server; each answer's `Date` teaches the clock."""

import base64
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from driftline_agent import __version__
from driftline_agent.durable_files import put_in_place, size_of
from driftline_agent.errors import AgentError, NotReached, Revoked, ServerRefused
from driftline_agent.rows.window_store import Batch
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import Identity
from driftline_agent.server.key_succession import HEADER, Statement
from driftline_agent.server.manifest import Manifest, SignedManifest
from driftline_agent.server.server_client import open_client

PATH = "/api/v1/devices"
TIMEOUT_SECONDS = 15.0
_REFUSALS = {400, 409, 413, 415, 422}
_PROBLEM = "application/problem+json"
"""What Driftline answers a wrong request with; a proxy in front of it answers with pages of its own."""


class DownloadFailed(Exception):
    """A file did not arrive whole; it is asked for again at the next poll."""


class Uplink:
    """The server, as the device's token lets in."""

    def __init__(self, url: str, token: str, clock: DeviceClock, public_key: str) -> None:
        """Prepare to call the server at `url`; raises AgentError where that would send the token in the clear."""
        self._clock = clock
        self._etag = ""
        self._client = open_client(url, PATH, TIMEOUT_SECONDS, {"Authorization": f"Bearer {token}"})
        self.name_key(public_key)

    def name_key(self, public_key: str) -> None:
        """Report to the server from now on that the device trusts this key (base64), and follows its successors."""
        self._client.headers[HEADER] = public_key

    def key_successions(self) -> list[Statement]:
        """Ask how the keys that sign manifests succeeded each other."""
        found = _document(self._call("GET", "/self/key-successions")).get("successions")
        try:
            return [Statement(str(one["statement"]), str(one["signature"])) for one in found or ()]
        except (KeyError, TypeError) as error:
            raise NotReached("the answer does not say how the keys succeeded each other") from error

    def assignment(self) -> SignedManifest | None:
        """Poll the assignment; None where it did not change, or there is none."""
        answer = self._call("GET", "/self/assignment", headers={"If-None-Match": self._etag})
        if answer.status_code != 200:
            return None
        document = _document(answer)
        self._etag = answer.headers.get("ETag", "")
        try:
            return SignedManifest(str(document["manifest"]), str(document["signature"]))
        except KeyError as error:
            raise NotReached(f"the answer lacks {error}") from error

    def forget_assignment(self) -> None:
        """Ask for the whole assignment at the next poll, as this one could not be fulfilled."""
        self._etag = ""

    def send_status(self, **status: Any) -> int:
        """Return how the device does; returns the number from which rows may be counted that were never sent."""
        answer = self._call("POST", "/self/status", json=status)
        number = _document(answer).get("next_sequence")
        if type(number) is not int or number < 1:
            raise NotReached("the answer does not say which number comes next")
        return number

    def send_rows(self, predictions: Sequence[dict[str, Any]]) -> list[str]:
        """Send rows and return what became of each, in their order; raises ServerRefused for the whole batch."""
        answer = self._call("POST", "/self/rows", json={"predictions": list(predictions)})
        results = _document(answer).get("results")
        if not isinstance(results, list) or len(results) != len(predictions):
            raise NotReached("the answer does not say what became of each row")
        return [str(result["status"]) for result in results]

    def ask_layout(self, version: str, centres: Mapping[str, float]) -> dict[str, Any]:
        """Ask how rows of a version are added up, and fix the centres of numbers that have none yet."""
        asked = {"version": version, "centres": dict(centres)}
        return _document(self._call("POST", "/self/summaries/layout", json=asked))

    def send_windows(self, batch: Batch) -> None:
        """Add an hour to those of the server; raises ServerRefused where it takes it never."""
        moment = datetime.fromtimestamp(batch.hour.start_ms / 1000, UTC)
        windows = [
            {
                "version": batch.hour.version,
                "role": "champion",
                "hour": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "segment": segment,
                "summary": base64.b64encode(window.summary).decode(),
            }
            for segment, window in batch.windows.items()
            if window.summary
        ]
        answer = self._call("PUT", "/self/summaries", json={"batch": batch.name, "windows": windows})
        if _document(answer).get("batch") != batch.name:  # such as the page of a hotel's network
            raise NotReached("the answer does not say that the hour was added")

    def download(self, manifest: Manifest, draft: Path, path: Path) -> None:
        """Bring a version's file to `path`, in one step once it is whole and on the disk.

        What a network that broke off left in `draft` is not asked for again. Raises DownloadFailed, NotReached or
        OSError, of which NotReached alone keeps a part of the file: rows need the room. Who loads it checks the digest.
        """
        here = size_of(draft)
        try:
            if here >= manifest.size:  # of a power cut
                here = 0
            if (free := shutil.disk_usage(draft.parent).free) < manifest.size - here:
                raise DownloadFailed(f"the file has {manifest.size:,} bytes, and the disk room for {free:,}")
            self._download(manifest, draft, here)
            put_in_place(draft, path)
        except (DownloadFailed, OSError):
            draft.unlink(missing_ok=True)
            raise

    def _download(self, manifest: Manifest, draft: Path, here: int) -> None:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
        try:
            with self._client.stream("GET", f"/self/artifacts/{manifest.sha256}", headers=headers) as answer:
                if answer.status_code == 206 and answer.headers.get("content-range", "").startswith(
                    f"bytes {here}-"
                ):
                    self._receive(answer, manifest, draft, here)
                elif answer.status_code == 200:  # the whole file, of a server that knows no ranges
                    self._receive(answer, manifest, draft, 0)
                else:
                    answer.read()
                    self._check(answer)
                    raise DownloadFailed(f"the server answers {answer.status_code}")
        except httpx.HTTPError as error:
            raise NotReached(f"the download broke off: {type(error).__name__}") from error

    @staticmethod
    def _receive(answer: httpx.Response, manifest: Manifest, draft: Path, size: int) -> None:
        """Add what comes to a draft that has so many bytes; 0 begins it anew."""
        with draft.open("ab" if size else "wb") as file:
            for block in answer.iter_bytes():
                size += len(block)
                if size > manifest.size:
                    raise DownloadFailed(
                        f"the file is larger than the {manifest.size:,} bytes of the manifest"
                    )
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if size != manifest.size:
            raise DownloadFailed(f"the file has {size:,} bytes and not {manifest.size:,}")

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        sent_ms = self._clock.running_ms()
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise NotReached(f"{type(error).__name__}: {error}"[:200]) from error
        if answer.is_success or answer.status_code == 304:
            _learn(self._clock, answer, sent_ms)
        self._check(answer)
        return answer

    @staticmethod
    def _check(answer: httpx.Response) -> None:
        status = answer.status_code
        if status == 401:
            raise Revoked("the server does not know this device any more")
        content_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if status in _REFUSALS and content_type == _PROBLEM:
            raise ServerRefused(status, _detail(answer))
        if status >= 400:
            raise NotReached(f"the server, or a proxy before it, answers {status}")

    def close(self) -> None:
        self._client.close()


def enrol(url: str, code: str, clock: DeviceClock, *, key: str) -> tuple[Identity, int]:
    """Change a code for the device's identity; returns it with the number of its first row. Raises AgentError.

    With the same secret `key` of at least 32 letters a code works again, for the same identity.
    """
    facts = {"agent": __version__, "machine": f"{platform.system()} {platform.machine()}"[:60]}
    sent_ms = clock.running_ms()
    try:
        headers = {"Authorization": f"Bearer {code}", "Idempotency-Key": key}
        with open_client(url, PATH, TIMEOUT_SECONDS, headers) as client:
            answer = client.post("/enrol", json=facts)
        if answer.status_code == 401:
            raise AgentError(
                f"{url} does not take this code: it was used, is older than a day, or is of another installation. Make "
                "another one on the page Devices."
            )
        if answer.status_code != 201:
            raise AgentError(f"{url} answers {answer.status_code}: {_detail(answer)}")
        _learn(clock, answer, sent_ms)
        document = _document(answer)
        names = {name: str(document[name]) for name in ("device", "group", "token", "public_key")}
        first = int(document["next_sequence"])
    except (httpx.HTTPError, NotReached) as error:
        why = str(error).rstrip(".")
        raise AgentError(f"Nobody answers at {url}: {why}. Run this again, with the same code.") from error
    except (KeyError, ValueError) as error:
        raise AgentError(f"{url} is no Driftline that knows devices: its answer lacks {error}") from error
    identity = Identity(
        url=url.rstrip("/"),
        device=names["device"],
        group=names["group"],
        token=names["token"],
        public_key=names["public_key"],
        enrolled_ms=clock.server_ms() or clock.wall_ms(),
    )
    return identity, first


def _learn(clock: DeviceClock, answer: httpx.Response, sent_ms: int) -> None:
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, TypeError):
        return
    clock.observe(round(moment.timestamp() * 1000), sent_ms=sent_ms, received_ms=clock.running_ms())


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError as error:
        raise NotReached("the answer is not JSON") from error
    if not isinstance(document, dict):
        raise NotReached("the answer is no object")
    return document


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"

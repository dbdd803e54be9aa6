"""The management API over the standard library's client: few calls, so plain is enough."""

import http.client
import time
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

ATTEMPTS_S = 120.0
PAUSE_S = 0.5
BUSY = (429, 503)
JSON = "application/json"


class ApiRefused(Exception):
    """The API answered with a problem; `status` is its HTTP status and `problem` its body."""

    def __init__(self, call: str, status: int, problem: Any) -> None:
        detail = problem.get("detail") if isinstance(problem, dict) else problem
        super().__init__(f"{call} was answered {status}: {detail}")
        self.status = status
        self.problem = problem


class Api:
    """Calls of the public API with one token, on one connection that is opened again when it was lost."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)
        self._authorization = {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def find(self, path: str) -> Any:
        """Like `get`, but None where there is nothing (404)."""
        try:
            return self.get(path)
        except ApiRefused as refusal:
            if refusal.status == 404:
                return None
            raise

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        return self.call("POST", path, orjson.dumps(body), {"Content-Type": JSON, **(headers or {})})

    def patch(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        return self.call("PATCH", path, orjson.dumps(body), {"Content-Type": JSON, **(headers or {})})

    def upload(self, path: str, file: bytes, **texts: bytes) -> Any:
        """Post a form with a file named `file` and JSON texts."""
        boundary = uuid.uuid4().hex
        parts = [_part(boundary, 'name="file"; filename="model.onnx"', file)]
        parts += [_part(boundary, f'name="{name}"', text) for name, text in texts.items()]
        content = b"".join(parts) + f"--{boundary}--\r\n".encode()
        return self.call("POST", path, content, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def call(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Make one call; a busy or restarting server is asked again for two minutes."""
        deadline = time.monotonic() + ATTEMPTS_S
        while True:
            try:
                status, pause, body = self._attempt(method, path, content, headers or {})
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_S)
                continue
            if status in BUSY and time.monotonic() < deadline:
                time.sleep(pause)
                continue
            if status >= 400:
                raise ApiRefused(f"{method} {path}", status, body)
            return body

    def _attempt(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, float, Any]:
        self._connection.request(method, path, content, {**self._authorization, **headers})
        answer = self._connection.getresponse()
        text = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        body = orjson.loads(text) if is_json and text else text.decode(errors="replace")[:500]
        return answer.status, _seconds(answer.getheader("Retry-After")), body


def _part(boundary: str, disposition: str, content: bytes) -> bytes:
    return (
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
    )


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else PAUSE_S

"""The demonstration's webhook receiver: checks each signature as a real receiver should, and keeps each body."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 1 << 20


class Receiver:
    """Listens on a port of the loopback that stays the same for a home.

    Bodies with a valid signature are appended to `demo/webhooks.jsonl`.
    """

    name = "Demo webhook"

    def __init__(self, home: Path) -> None:
        self._folder = home / "demo"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._secret_path = self._folder / "webhook.secret"
        self._port_path = self._folder / "webhook.port"
        self._log = self._folder / "webhooks.jsonl"
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._kept_port()), self._handler())
        self._server.daemon_threads = True
        self._port_path.write_text(str(self._server.server_port))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/driftline"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keep_secret(self, secret: str) -> None:
        """Keep the channel's signing secret, which is shown only once."""
        with os.fdopen(os.open(self._secret_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secret)

    def accept(self, body: bytes, headers: dict[str, str]) -> bool:
        """Keep a body whose signature is right, and tell whether it was."""
        try:
            Webhook(self._secret_path.read_text()).verify(body, headers)
        except (FileNotFoundError, WebhookVerificationError):
            return False
        line = json.dumps({"id": headers.get("webhook-id"), "body": json.loads(body)})
        with self._lock, self._log.open("a") as log:
            log.write(line + "\n")
        return True

    def _kept_port(self) -> int:
        return int(self._port_path.read_text()) if self._port_path.exists() else 0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length", "0")), MAX_BODY_BYTES))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(204 if receiver.accept(body, headers) else 401)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Write nothing: what was received is in the file."""

        return Handler

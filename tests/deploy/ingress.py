"""A proxy in front of a server, as an Ingress is one: it ends TLS, and says so to the server behind it."""

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"}


class Ingress(ThreadingHTTPServer):
    """Passes requests to `target` under the name `host`."""

    daemon_threads = True

    def __init__(
        self,
        listen: tuple[str, int],
        host: str,
        target: tuple[str, int],
        certificate: tuple[Path, Path] | None,
    ) -> None:
        super().__init__(listen, _Forwarding)
        self.host, self.target = host, target
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def __enter__(self) -> "Ingress":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Forwarding(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Ingress

    def do_GET(self) -> None:
        kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        inner = http.client.HTTPConnection(*self.server.target, timeout=60)
        try:
            added = {
                "Host": self.server.host,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-For": self.client_address[0],
            }
            inner.request(self.command, self.path, body or None, kept | added)
            answer = inner.getresponse()
            content = answer.read()
        finally:
            inner.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Print nothing."""

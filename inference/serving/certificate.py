"""The certificate of both ports, which is read again when its files change, as certificates are renewed."""

import logging
import os
import ssl
from pathlib import Path

from inference.serving.options import ServerCertificate

TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # those of TLS 1.3 are chosen by OpenSSL

type Fingerprint = tuple[tuple[int, int, int], ...]

log = logging.getLogger(__name__)


class CertificateFiles:
    """The newest pair of chain and key that belonged together; a pair that does not is said once, and not used."""

    def __init__(self, files: ServerCertificate) -> None:
        """Read the files; raises OSError, also as ssl.SSLError, where they cannot be used."""
        self._files = files
        self._seen = self._fingerprint()
        self._current, self.pair = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context of a listener, whose handshakes use the newest pair."""
        listening = _new_context()
        listening.load_cert_chain(self._files.chain, self._files.key)
        listening.sni_callback = (
            self._choose
        )  # called in every handshake, whether the client names a server or not
        return listening

    def reload_if_changed(self) -> None:
        """Read the files again where they are others than before; what is in use stays where that fails."""
        try:
            found = self._fingerprint()
        except OSError:
            return  # a file is just being replaced
        if found == self._seen:
            return
        self._seen = found
        try:
            self._current, self.pair = self._load()
        except OSError as error:
            log.warning("the new certificate cannot be used, so the one before stays in use: %s", error)
        else:
            log.warning("the certificate has changed, and the new one is in use")

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext) -> None:
        handshake.context = self._current

    def _load(self) -> tuple[ssl.SSLContext, tuple[bytes, bytes]]:
        """Return a context with the pair, and the PEM of key and chain."""
        context = _new_context()
        context.load_cert_chain(self._files.chain, self._files.key)
        return context, (Path(self._files.key).read_bytes(), Path(self._files.chain).read_bytes())

    def _fingerprint(self) -> Fingerprint:
        found = (os.stat(path) for path in (self._files.chain, self._files.key))
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(TLS_1_2_CIPHERS)
    return context

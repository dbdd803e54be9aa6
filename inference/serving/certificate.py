"""The certificate of both ports, which is read again when its files change, as certificates are renewed."""

import logging
import os
import ssl
from pathlib import Path

from msgspec import Struct

from inference.serving.options import ServerCertificate

TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # those of TLS 1.3 are chosen by OpenSSL

type Fingerprint = tuple[tuple[int, int, int], ...]

log = logging.getLogger(__name__)


class CertificateContents(Struct, frozen=True):
    """The PEM of chain and key, and of the authorities of clients."""

    chain: bytes
    key: bytes
    client_authorities: bytes | None


class CertificateFiles:
    """The newest chain and key that belonged together, and the authorities of clients; others are logged, not used."""

    def __init__(self, files: ServerCertificate) -> None:
        """Read the files; raises OSError, also as ssl.SSLError, where they cannot be used."""
        self._files = files
        self._loaded = self._fingerprint()
        self._current, self.contents = self._load()

    @property
    def requires_client_certificate(self) -> bool:
        """Whether clients must show a certificate of their own before they ask a model."""
        return self._files.client_authorities is not None

    def context(self) -> ssl.SSLContext:
        """Return the context of a listener; its handshakes use the newest pair."""
        listening = self._new_context()
        listening.sni_callback = self._use_newest  # called in every handshake, also where no server is named
        return listening

    def reload_if_changed(self) -> None:
        """Read the files again where they are others than before; what is in use stays where that fails."""
        try:
            fingerprint = self._fingerprint()
        except OSError:
            return  # a file is just being replaced
        if fingerprint == self._loaded:
            return
        self._loaded = fingerprint
        try:
            self._current, self.contents = self._load()
        except OSError as error:
            log.warning("the new certificate cannot be used, so the one before stays in use: %s", error)
        else:
            log.warning("the certificate has changed, and the new one is in use")

    def _use_newest(
        self, handshake: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext
    ) -> None:
        handshake.context = self._current

    def _load(self) -> tuple[ssl.SSLContext, CertificateContents]:
        authorities = self._files.client_authorities
        contents = CertificateContents(
            Path(self._files.chain).read_bytes(),
            Path(self._files.key).read_bytes(),
            Path(authorities).read_bytes() if authorities else None,
        )
        return self._new_context(), contents

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(TLS_1_2_CIPHERS)
        context.load_cert_chain(
            self._files.chain, self._files.key, password=""
        )  # else OpenSSL may ask a terminal
        if self._files.client_authorities is not None:
            context.load_verify_locations(self._files.client_authorities)
            context.verify_mode = ssl.CERT_OPTIONAL  # people's browsers use the same port, and have none
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an issuing authority alone may be trusted
            # A session that is resumed shows no certificate again: one of an authority removed meanwhile would pass.
            context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
        return context

    def _fingerprint(self) -> Fingerprint:
        paths = (self._files.chain, self._files.key, self._files.client_authorities)
        states = (os.stat(path) for path in paths if path is not None)
        return tuple((one.st_ino, one.st_size, one.st_ctime_ns) for one in states)  # rights change it, too

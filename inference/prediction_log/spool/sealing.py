"""Seals bytes with AES-256-GCM under data keys, which a home's master keys wrap.

`keys/log_key` holds the master keys, a text a line, the newest first: it wraps, all unwrap. The file is read with each
use, so that a rotation needs no restart. No Django here: serving processes seal what they spool.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_FILE = Path("keys") / "log_key"
NAME_BYTES = 8
_NONCE_BYTES = 12
_KEY_BYTES = 32
_TAG_BYTES = 16
WRAPPED_BYTES = NAME_BYTES + _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES


class KeyMissing(OSError):
    """A data key is not there, or no master key of this home opens it; what it sealed may come back with the key.

    It is an error of the home, as a disk that fails is.
    """


class Tampered(Exception):
    """Sealed bytes are not those that were sealed."""


@dataclass(frozen=True)
class MasterKey:
    """A key that wraps others; `name` is written beside what it wrapped and tells nothing about the key."""

    text: str
    name: bytes
    key: bytes

    @classmethod
    def of(cls, text: str) -> "MasterKey":
        derived = HKDF(SHA256(), length=NAME_BYTES + _KEY_BYTES, salt=None, info=b"driftline log key").derive(
            text.encode()
        )
        return cls(text, derived[:NAME_BYTES], derived[NAME_BYTES:])


def master_keys(home: Path) -> list[MasterKey]:
    """Read the home's master keys, the newest first; none where it never had one."""
    path = home / KEY_FILE
    return [MasterKey.of(text) for text in path.read_text().split()] if path.exists() else []


def new_data_key() -> bytes:
    """Make a key that seals contents."""
    return AESGCM.generate_key(8 * _KEY_BYTES)


def wrap_key(home: Path, data_key: bytes) -> bytes:
    """Wrap a data key under the home's newest master key; raises KeyMissing where it has none."""
    newest = next(iter(master_keys(home)), None)
    if newest is None:
        raise KeyMissing(f"{home / KEY_FILE} holds no key, so nothing can be sealed.")
    return newest.name + seal(newest.key, data_key, newest.name)


def unwrap_key(home: Path, wrapped: bytes) -> bytes:
    """Return the data key that `wrap_key` wrapped; raises KeyMissing where its master key is missing or was changed."""
    name = wrapped_by(wrapped)
    for master in master_keys(home):
        if master.name == name:
            try:
                return open_sealed(master.key, wrapped[NAME_BYTES:], name)
            except Tampered as error:
                raise KeyMissing(f"A key that master key {name.hex()} wrapped is damaged.") from error
    raise KeyMissing(f"{home / KEY_FILE} does not hold master key {name.hex()}.")


def wrapped_by(wrapped: bytes) -> bytes:
    """Name the master key that wrapped a data key."""
    return wrapped[:NAME_BYTES]


def seal(key: bytes, content: bytes, context: bytes) -> bytes:
    """Seal under a random nonce, which may be done four thousand million times with one key.

    `context` is not in the sealed bytes, and they open with the same one only.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, context)


def open_sealed(key: bytes, sealed: bytes | memoryview, context: bytes) -> bytes:
    """Return what was sealed; raises Tampered where a bit of it, the key or the context is another."""
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise Tampered
    try:
        return AESGCM(key).decrypt(bytes(sealed[:_NONCE_BYTES]), sealed[_NONCE_BYTES:], context)
    except InvalidTag as error:
        raise Tampered from error


# -- a file that holds its own key -------------------------------------------------------------------------------------
FILE_MAGIC = b"DLF1"  # neither JSON nor a map of MessagePack begins with it
_FILE_HEAD_BYTES = len(FILE_MAGIC) + WRAPPED_BYTES


def seal_file(home: Path, content: bytes) -> bytes:
    """Seal what a file holds under a key of its own, whose wrapped form comes first."""
    key = new_data_key()
    head = FILE_MAGIC + wrap_key(home, key)
    return head + seal(key, content, head)


def open_file(home: Path, stored: bytes) -> bytes:
    """Return what a file holds, whether it is sealed or not; raises KeyMissing, or Tampered."""
    if not stored.startswith(FILE_MAGIC):
        return stored
    head = stored[:_FILE_HEAD_BYTES]
    return open_sealed(unwrap_key(home, head[len(FILE_MAGIC) :]), memoryview(stored)[_FILE_HEAD_BYTES:], head)


def wrapped_file_key(path: Path) -> bytes | None:
    """Read the wrapped key that a sealed file begins with; None where the file is plain or gone."""
    try:
        with path.open("rb") as file:
            head = file.read(_FILE_HEAD_BYTES)
    except FileNotFoundError:
        return None
    return head[len(FILE_MAGIC) :] if head.startswith(FILE_MAGIC) else None


# -- the key of one file of the spool ----------------------------------------------------------------------------------
SEALED = b"\xc1"  # no record begins with it: MessagePack never uses it


class SegmentKey:
    """Seals the records of one segment. A record's place in it is its nonce: a segment only grows, and has its own key.

    So a record opens where it was written, and nowhere else.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, payload: bytes, offset: int) -> bytes:
        return SEALED + self._cipher.encrypt(_nonce_of(offset), payload, None)

    def open(self, sealed: bytes, offset: int) -> bytes:
        """Return a record's payload; raises Tampered where it was not sealed here."""
        if not sealed.startswith(SEALED):
            raise Tampered
        try:
            return self._cipher.decrypt(_nonce_of(offset), memoryview(sealed)[len(SEALED) :], None)
        except InvalidTag as error:
            raise Tampered from error


def _nonce_of(offset: int) -> bytes:
    return offset.to_bytes(_NONCE_BYTES, "little")


def key_path(segment: Path) -> Path:
    """Name the file beside a segment that holds its wrapped key."""
    return segment.with_suffix(".key")


def make_segment_key(home: Path, segment: Path) -> SegmentKey:
    """Make a segment's key and bring it to the disk before anything is sealed under it."""
    key = new_data_key()
    wrapped = wrap_key(home, key)
    handle = os.open(key_path(segment), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, wrapped)
        os.fsync(handle)
    finally:
        os.close(handle)
    return SegmentKey(key)


def read_segment_key(home: Path, segment: Path) -> SegmentKey | None:
    """Read a segment's key; None where it has none, and holds plain records."""
    try:
        wrapped = key_path(segment).read_bytes()
    except FileNotFoundError:
        return None
    return SegmentKey(unwrap_key(home, wrapped))


def wrapped_job_keys(home: Path) -> Iterator[bytes]:
    """Yield the wrapped keys of all files of jobs under a home."""
    for path in (home / "jobs").rglob("*"):
        if path.is_file() and (wrapped := wrapped_file_key(path)) is not None:
            yield wrapped


def wrapped_segment_keys(home: Path) -> Iterator[bytes]:
    """Yield the wrapped keys of all segments under a home."""
    for path in (home / "spool").glob("*/*.key"):
        try:
            yield path.read_bytes()
        except FileNotFoundError:
            continue  # its segment was drained

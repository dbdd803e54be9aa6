"""The store of model files."""

import errno
import hashlib
import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from inference.registry.files.artifacts import (
    ArtifactDamaged,
    StoredArtifact,
    receive,
    relative_path,
    remove_leftovers,
    verify,
)
from inference.registry.intake import IntakeRefused

CONTENT = b"the bytes of a model" * 1000


def store(home: Path, stream: io.BytesIO, **options: int) -> StoredArtifact:
    with receive(home, stream, **options) as arrived:
        return arrived.keep()


def _files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


class _FullDisk(io.BytesIO):
    """A stream whose bytes find no room half-way."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().read(10)


class TestStore:
    def test_keeps_bytes_under_their_digest(self, tmp_path: Path) -> None:
        stored = store(tmp_path, io.BytesIO(CONTENT))

        digest = hashlib.sha256(CONTENT).hexdigest()
        assert stored.sha256 == digest
        assert stored.size == len(CONTENT)
        assert stored.path == f"artifacts/{digest[:2]}/{digest}.onnx"
        assert (tmp_path / stored.path).read_bytes() == CONTENT

    def test_keeps_the_same_bytes_once(self, tmp_path: Path) -> None:
        first = store(tmp_path, io.BytesIO(CONTENT))

        again = store(tmp_path, io.BytesIO(CONTENT))

        assert again == first
        assert _files(tmp_path) == [first.path]

    def test_refuses_one_byte_over_the_cap_and_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(IntakeRefused) as caught:
            store(tmp_path, io.BytesIO(CONTENT), max_bytes=len(CONTENT) - 1)

        assert (caught.value.code, caught.value.status) == ("artifact_too_large", 413)
        assert _files(tmp_path) == []
        assert store(tmp_path, io.BytesIO(CONTENT), max_bytes=len(CONTENT)).size == len(CONTENT)

    def test_says_that_the_disk_is_full_and_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(IntakeRefused) as caught:
            store(tmp_path, _FullDisk(CONTENT))

        assert (caught.value.code, caught.value.status) == ("insufficient_storage", 507)
        assert _files(tmp_path) == []

    def test_leaves_nothing_of_an_upload_that_breaks_off(self, tmp_path: Path) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise ConnectionResetError("the client is gone")

        with pytest.raises(ConnectionResetError):
            store(tmp_path, Broken(CONTENT))

        assert _files(tmp_path) == []

    def test_leaves_nothing_of_what_was_not_kept(self, tmp_path: Path) -> None:
        with receive(tmp_path, io.BytesIO(CONTENT)) as arrived:
            assert arrived.location.read_bytes() == CONTENT

        assert _files(tmp_path) == []


class TestRemoveLeftovers:
    def test_removes_what_a_killed_upload_left_long_ago_and_nothing_else(self, tmp_path: Path) -> None:
        stored = store(tmp_path, io.BytesIO(CONTENT))
        old, young = tmp_path / "artifacts/.arriving-old", tmp_path / "artifacts/.arriving-young"
        for path in (old, young, tmp_path / stored.path):
            path.write_bytes(CONTENT)
        two_days_ago = time.time() - 2 * 86_400
        for path in (old, tmp_path / stored.path):
            os.utime(path, (two_days_ago, two_days_ago))

        removed = remove_leftovers(tmp_path)

        assert removed == 1
        assert _files(tmp_path) == ["artifacts/.arriving-young", stored.path]

    def test_finds_nothing_where_nothing_was_ever_uploaded(self, tmp_path: Path) -> None:
        assert remove_leftovers(tmp_path, older_than=timedelta(0)) == 0


class TestVerify:
    def test_returns_the_file(self, tmp_path: Path) -> None:
        stored = store(tmp_path, io.BytesIO(CONTENT))

        assert verify(tmp_path, stored.sha256) == tmp_path / stored.path

    def test_notices_one_changed_byte(self, tmp_path: Path) -> None:
        stored = store(tmp_path, io.BytesIO(CONTENT))
        (tmp_path / stored.path).write_bytes(b"T" + CONTENT[1:])

        with pytest.raises(ArtifactDamaged, match="other bytes"):
            verify(tmp_path, stored.sha256)

    def test_notices_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactDamaged, match="missing"):
            verify(tmp_path, "0" * 64)

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
    def test_takes_nothing_but_a_digest(self, tmp_path: Path, digest: str) -> None:
        with pytest.raises(ValueError, match="SHA-256"):
            verify(tmp_path, digest)

    def test_names_the_path_that_the_plan_names(self) -> None:
        assert relative_path("ab" * 32) == f"artifacts/ab/{'ab' * 32}.onnx"

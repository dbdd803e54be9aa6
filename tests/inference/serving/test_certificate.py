"""What a server does with the files of its certificate while somebody replaces them."""

import logging
from pathlib import Path

import pytest

from inference.serving.certificate import CertificateFiles
from inference.serving.options import ServerCertificate
from tests.certificates import make_certificate


@pytest.fixture
def used(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(_folder(tmp_path / "used"))


@pytest.fixture
def renewed(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(_folder(tmp_path / "renewed"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def files_of(pair: tuple[Path, Path]) -> CertificateFiles:
    return CertificateFiles(ServerCertificate(*map(str, pair)))


def test_a_pair_of_which_one_half_is_still_the_old_one_is_said_once_and_not_used(
    used: tuple[Path, Path], renewed: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    files = files_of(used)
    before = files.contents
    renewed[0].replace(used[0])

    files.reload_if_changed()
    files.reload_if_changed()

    assert files.contents == before
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot be used" in caplog.text

    renewed[1].replace(used[1])
    files.reload_if_changed()

    assert files.contents.chain == used[0].read_bytes() != before.chain


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_what_is_no_certificate_is_not_used(used: tuple[Path, Path], content: bytes) -> None:
    files = files_of(used)
    before = files.contents
    used[0].write_bytes(content)

    files.reload_if_changed()

    assert files.contents == before


def test_a_file_that_is_missing_for_a_moment_is_read_once_it_is_back(
    used: tuple[Path, Path], renewed: tuple[Path, Path]
) -> None:
    files = files_of(used)
    used[0].unlink()
    files.reload_if_changed()

    for new, old in zip(renewed, used, strict=True):
        new.replace(old)
    files.reload_if_changed()

    assert files.contents.chain == used[0].read_bytes()

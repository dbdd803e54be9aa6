"""Files are read below folders that the operator allows, in the order of their names, and nothing else."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.store import ObjectMissing, ObjectRefused
from inference.prediction_log.sources.models import DeadLetter, SourceObject
from inference.prediction_log.sources.objects import folder as folder_module
from inference.prediction_log.sources.objects.folder import Folder, OpenFile
from inference.prediction_log.sources.objects.preview import sample_objects
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from tests.inference.prediction_log.sources.objects.conftest import MakeObjects
from tests.inference.prediction_log.sources.objects.reading import csv_of, ids, read_all

LONG_AGO = 1_700_000_000


def write(path: Path, raw: bytes, *, at: float = LONG_AGO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    os.utime(path, (at, at))


def listed(folder: Path, **others: Any) -> list[str]:
    pages = Folder(ObjectsSettings(folder=str(folder), **others)).pages()
    return [one.path for page in pages for one in page]


def test_files_come_in_the_order_of_the_bytes_of_their_paths(folder: Path) -> None:
    for name in ("b/1.csv", "a.csv", "a/2.csv", "a/é.csv", "a/Z.csv", "c"):
        write(folder / name, b"")

    assert listed(folder) == ["a.csv", "a/2.csv", "a/Z.csv", "a/é.csv", "b/1.csv", "c"]
    assert listed(folder, prefix="a/") == ["a/2.csv", "a/Z.csv", "a/é.csv"]


def test_each_file_is_read_once_and_one_that_was_replaced_is_said(
    folder: Path, make_objects: MakeObjects
) -> None:
    source = make_objects(folder=str(folder))
    write(folder / "a.csv", csv_of("a"))
    read_all(source)
    write(folder / "a.csv", csv_of("b"), at=LONG_AGO + 1)
    write(folder / "b/c.ndjson", b'{"id": "c", "prediction": 1}\n')

    read_all(source)

    source.refresh_from_db()
    assert ids() == ["a", "c"]
    assert source.notice.startswith("a.csv changed after being read")


def test_a_file_that_may_still_be_written_waits(folder: Path, make_objects: MakeObjects) -> None:
    (folder / "a.csv").write_bytes(csv_of("a"))

    assert read_all(make_objects(folder=str(folder))) == []
    assert not SourceObject.objects.exists()


def test_a_preview_reads_on_behind_a_newest_file_that_is_broken(folder: Path) -> None:
    write(folder / "a.csv", csv_of("a", "b"))
    write(folder / "b.parquet", b"PAR1 and no more", at=LONG_AGO + 1)

    shown = sample_objects(ObjectsSettings(folder=str(folder)), "", messages=2, seconds=60)

    assert [one.partition for one in shown] == ["b.parquet", "a.csv"]
    fault = shown[0].fault
    assert fault is not None
    assert not fault.detail.endswith("..")


@pytest.mark.parametrize("where", ["/etc", "/", "relative", "{allowed}/../other", "{allowed}/link"])
def test_a_folder_elsewhere_is_refused(
    folder: Path, make_objects: MakeObjects, where: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (folder.parent / "link").symlink_to(tmp_path / "other")

    with pytest.raises(Problem) as refused:
        make_objects(folder=where.replace("{allowed}", str(folder.parent)))

    assert refused.value.code == "folder_not_allowed"


def test_without_the_setting_no_folder_is_read(
    folder: Path, make_objects: MakeObjects, settings: Any
) -> None:
    source = make_objects(folder=str(folder))
    settings.SOURCE_FOLDERS = []

    with pytest.raises(ConnectorFailed, match="does not allow"):
        read_all(source)
    with pytest.raises(Problem):
        make_objects(folder=str(folder))


def test_links_and_what_is_no_file_are_not_read(
    folder: Path, make_objects: MakeObjects, tmp_path: Path
) -> None:
    write(tmp_path / "secret.csv", csv_of("secret"))
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.csv")
    write(folder / "z.csv", csv_of("z"))

    read_all(make_objects(folder=str(folder)))

    assert ids() == ["z"]
    assert not DeadLetter.objects.exists()


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_followed(folder: Path, tmp_path: Path) -> None:
    write(folder / "a/b.csv", csv_of("a"))
    store = Folder(ObjectsSettings(folder=str(folder)))
    [[info]] = list(store.pages())
    write(tmp_path / "other/b.csv", csv_of("b"))
    (folder / "a").rename(folder / "moved")
    (folder / "a").symlink_to(tmp_path / "other")

    with pytest.raises(ObjectMissing):
        store.fetch(info).step()


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_opened_for_a_while_is_read_later(
    folder: Path, make_objects: MakeObjects, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    source = make_objects(folder=str(folder))
    for name in ("a", "b", "c"):
        write(folder / f"{name}.csv", csv_of(name))
    open_below = folder_module._open_below

    def refuse_b(root: str, path: str) -> int:
        if path == "b.csv":
            raise OSError(reason, os.strerror(reason))
        return open_below(root, path)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "_open_below", refuse_b)
        with pytest.raises(ConnectorFailed, match=f"b.csv cannot be read now: {os.strerror(reason)}"):
            read_all(source)
    assert ids() == ["a"]

    read_all(source)

    assert ids() == ["a", "b", "c"]
    assert not DeadLetter.objects.exists()


def test_a_file_that_is_a_link_when_it_is_opened_is_refused(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.csv", csv_of("a"))
    store = Folder(ObjectsSettings(folder=str(folder)))
    [[info]] = list(store.pages())
    (folder / "a.csv").unlink()
    (folder / "a.csv").symlink_to(tmp_path / "other.csv")

    with pytest.raises(ObjectRefused, match="it is a link"):
        store.fetch(info).step()


def test_a_file_that_is_written_into_while_it_is_read_is_read_again(
    folder: Path, make_objects: MakeObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_objects(folder=str(folder))
    write(folder / "a.csv", csv_of("a"))
    finish = OpenFile.is_unchanged

    def write_before(file: OpenFile) -> bool:
        write(folder / "a.csv", csv_of("a", "b"), at=LONG_AGO + 1)
        return finish(file)

    with monkeypatch.context() as patch:
        patch.setattr(OpenFile, "is_unchanged", write_before)
        read_all(source)
    read_all(source)

    source.refresh_from_db()
    assert ids() == ["a", "b"]
    assert source.notice == ""


def test_a_subfolder_that_cannot_be_read_is_named_and_the_others_read(
    folder: Path, make_objects: MakeObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_objects(folder=str(folder))
    write(folder / "closed/a.csv", csv_of("a"))
    write(folder / "open/b.csv", csv_of("b"))
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    read_all(source)

    source.refresh_from_db()
    assert ids() == ["b"]
    assert source.notice == "closed/ cannot be listed, so nothing below it is read; allow this server to."


def test_a_name_that_the_database_cannot_hold_is_passed(folder: Path) -> None:
    write(folder / "a.csv", b"")
    with open(os.fsencode(folder) + b"/\xff.csv", "wb"):
        pass

    assert listed(folder) == ["a.csv"]

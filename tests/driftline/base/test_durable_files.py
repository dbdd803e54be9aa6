"""Files that are replaced in one step."""

import os
from pathlib import Path

import pytest

from driftline.base.durable_files import replacing, write_file


@pytest.mark.parametrize("sync", [True, False])
def test_replaces_the_content_and_leaves_no_draft(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b"the old one, which is longer")

    write_file(path, b"the new one", sync=sync)

    assert path.read_bytes() == b"the new one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_content_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b"the old one")

    with pytest.raises(TypeError), replacing(path) as draft:
        draft.write_bytes("no bytes")  # type: ignore[arg-type]

    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key"

    with replacing(path, mode=0o600) as draft:
        permissions = draft.stat().st_mode & 0o777
        draft.write_bytes(b"secret")

    assert (permissions, path.stat().st_mode & 0o777) == (0o600, 0o600)


def test_a_draft_that_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with replacing(path) as draft:
        leftover = draft
    path.rename(leftover)
    os.utime(leftover, (0, 0))

    write_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]

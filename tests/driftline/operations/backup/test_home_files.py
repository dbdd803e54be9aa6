"""What a backup takes of a home, and what it will not pass over in silence."""

from pathlib import Path

import pytest

from driftline.operations.backup.home_files import LinkInHome, stage


def test_links_of_a_trainer_to_code_are_no_part_of_a_backup(tmp_path: Path) -> None:
    folder = tmp_path / "runs/7"
    folder.mkdir(parents=True)
    (folder / "snapshot.parquet").write_text("rows")
    (folder / "code").symlink_to(Path(__file__).parent)

    staged = stage(tmp_path)

    assert [path.name for path in (staged / "runs/7").iterdir()] == ["snapshot.parquet"]


def test_a_link_among_the_artifacts_stops_a_backup_that_would_lack_what_is_behind_it(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/model.onnx").symlink_to("/elsewhere/model.onnx")

    with pytest.raises(LinkInHome, match=r"model\.onnx is a symbolic link"):
        stage(tmp_path)


def test_a_folder_of_the_home_that_lies_elsewhere_is_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk/model.onnx").write_text("a model")
    home = tmp_path / "home"
    home.mkdir()
    (home / "artifacts").symlink_to(tmp_path / "large disk")

    staged = stage(home)

    assert (staged / "artifacts/model.onnx").read_text() == "a model"

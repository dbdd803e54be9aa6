"""A column of vectors in a file that somebody uploads is a feature, as it is in the log."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.data_files.columns import ColumnRole
from inference.data_files.guesses import KnownModel
from inference.data_files.preview import Preview, preview, read_head

PARTS = {"photo.projection_01": True, "photo.projection_02": True, "photo.norm": True}


def shown(folder: Path, known: KnownModel | None = None, **columns: pa.Array) -> Preview:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array([1.5, 2.5]), **columns}), path)
    return preview(read_head(path), known=known or KnownModel())


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.list_(pa.int8(), 2), pa.large_list(pa.float32())],
)
def test_lists_of_numbers_are_a_feature(tmp_path: Path, kind: pa.DataType) -> None:
    found = shown(tmp_path, photo=pa.array([[1, 2], None], kind))

    [photo] = [one for one in found.columns if one.name == "photo"]
    assert (photo.role, photo.why, photo.warnings) == (
        ColumnRole.FEATURE,
        "Its values are vectors, of which none is shown.",
        [],
    )
    assert "photo" in found.stored_names


def test_lists_of_whole_numbers_may_list_anything_unless_the_version_has_such_a_vector(
    tmp_path: Path,
) -> None:
    known = KnownModel(features={"x": True, **PARTS}, has_all_features=True)
    lists = pa.array([[1, 2], [3, 4]], pa.large_list(pa.int8()))

    unknown, declared = shown(tmp_path, photo=lists), shown(tmp_path, known, photo=lists)

    assert {one.name: one.role for one in unknown.columns}["photo"] == ColumnRole.IGNORED
    assert {one.name: one.role for one in declared.columns}["photo"] == ColumnRole.FEATURE


def test_other_lists_and_those_with_a_name_of_driftline_are_ignored(tmp_path: Path) -> None:
    found = shown(tmp_path, names=pa.array([["a"], ["b"]]), probability=pa.array([[0.5, 0.5]] * 2))

    assert {one.name: one.role for one in found.columns if one.name != "x"} == {
        "names": ColumnRole.IGNORED,
        "probability": ColumnRole.IGNORED,
    }


def test_a_vector_that_the_version_has_is_not_said_to_be_missing(tmp_path: Path) -> None:
    known = KnownModel(features={"x": True, **PARTS}, has_all_features=True)
    vectors = pa.array([[1.0, 2.0]] * 2)

    there, missing = shown(tmp_path, known, photo=vectors, other=vectors), shown(tmp_path, known)

    assert {one.name: one.role for one in there.columns} == {
        "x": ColumnRole.FEATURE,
        "photo": ColumnRole.FEATURE,
        "other": ColumnRole.IGNORED,
    }
    assert not any("declares" in warning for warning in there.warnings)
    assert "The model declares features that the file has not: photo." in missing.warnings

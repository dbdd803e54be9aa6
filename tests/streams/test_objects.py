"""Every row of a bucket, and of a folder, is in the log once, though the consumer is killed again and again."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from inference.prediction_log.sources.models import SourceObject
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS
from inference.prediction_log.sources.selectors import statuses_of
from inference.registry.models import Model
from tests.streams.consumers import consumers_of
from tests.streams.object_rows import (
    KILLS,
    OBJECTS,
    ROWS,
    assert_each_row_once,
    make_source,
    read_with_kills,
    stored,
    table_of,
    write_objects,
)
from tests.streams.object_store import BUCKET, object_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]


def say(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n  {text} ", end="", flush=True)


def test_a_bucket_that_checks_signatures(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_objects(tmp_path / "bucket", ROWS)
    with object_server(tmp_path) as server, consumers_of("files", tmp_path) as consumers:
        key_id, secret = server.fill(tmp_path / "bucket")
        where = {"bucket": BUCKET, "endpoint": server.url, "access_key_id": key_id, "interval_seconds": 5}
        source = make_source(model, secret, **where)
        seconds = read_with_kills(source, consumers, KILLS)
        wait_until(
            lambda: dict(source.positions.values_list("partition", "next_offset")) == {ALL_OBJECTS: OBJECTS},
            what="the end of the last object",
        )
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    say(
        f"{ROWS:,} rows of {OBJECTS} objects, {KILLS} kills: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s",
        capsys,
    )
    assert_each_row_once(model)
    assert stored(source) == ROWS
    assert SourceObject.objects.filter(is_whole=True).count() == OBJECTS
    assert statuses_of([source])[source.pk].lag_objects == 0


def test_a_wrong_secret_is_said(model: Model, tmp_path: Path) -> None:
    write_objects(tmp_path / "bucket", OBJECTS)
    with object_server(tmp_path) as server, consumers_of("files", tmp_path) as consumers:
        key_id, _ = server.fill(tmp_path / "bucket")
        source = make_source(model, "another", bucket=BUCKET, endpoint=server.url, access_key_id=key_id)
        consumers.start(0)
        wait_until(lambda: statuses_of([source])[source.pk].error, seconds=60, what="the refusal")
        said = statuses_of([source])[source.pk].error
        assert consumers.stop(0) == 0

    assert "403 SignatureDoesNotMatch" in said


def test_one_large_file_of_a_folder(
    model: Model, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.SOURCE_FOLDERS = [str(tmp_path)]
    folder = tmp_path / "folder"
    folder.mkdir()
    pa.csv.write_csv(table_of(0, ROWS), folder / "all.csv")
    os.utime(folder / "all.csv", (1, 1))
    source = make_source(model, folder=str(folder), interval_seconds=5)

    with consumers_of("files", tmp_path, DRIFTLINE_SOURCE_FOLDERS=str(tmp_path)) as consumers:
        seconds = read_with_kills(source, consumers, KILLS)
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    say(f"{ROWS:,} rows of one CSV, {KILLS} kills: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s", capsys)
    assert_each_row_once(model)

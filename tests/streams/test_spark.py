"""A real Spark summarises a lake, in a batch and as a stream that is killed, and every row counts once."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Model, VectorFeature
from inference.vector_names import part_names
from monitors.definitions.models import FeatureProfile
from monitors.summaries.models import Summary
from monitors.summaries.uploads.models import SummaryBatch
from tests.streams.lakes import (
    HERE,
    PATIENCE_SECONDS,
    ROOT,
    differences,
    ended,
    jobs,
    logged_model,
    rows_counted,
    summaries,
    unlogged_model,
)
from tests.waiting import wait_until
from tests.worlds.approvals import DAY, table_of

pytestmark = [pytest.mark.e2e, pytest.mark.streams, pytest.mark.django_db(transaction=True)]

SPARK = ROOT / ".streams/spark/bin/python"


@pytest.fixture(scope="module", autouse=True)
def spark() -> None:
    if shutil.which("java") is None:
        pytest.skip("There is no Java; install one, such as 'apt-get install openjdk-21-jre-headless'.")
    subprocess.run([HERE / "install", "spark"], check=True)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def model(project: Project) -> Model:
    return unlogged_model(project)


@pytest.fixture
def job(model: Model, live_server: Any, tmp_path: Path) -> Iterator[Callable[[str, str], Popen[bytes]]]:
    """Start a job over the lake, as a batch or a stream of that name."""
    _, token = create_token(project=model.project, name="spark", scopes=[Scope.LOG], actor="ada")
    with jobs([SPARK, HERE / "spark_job.py"], {"PYSPARK_PYTHON": str(SPARK)}, tmp_path) as start:
        place = [live_server.url, model.name, token, str(tmp_path / "lake")]
        yield lambda how, name: start(how, *place, name, str(tmp_path / "checkpoint"))


def fill_lake(folder: Path, table: pa.Table, files: int) -> None:
    folder.mkdir(exist_ok=True)
    size = -(-table.num_rows // files)
    for number in range(files):
        pq.write_table(table.slice(number * size, size), folder / f"{number:03}.parquet")
        os.utime(folder / f"{number:03}.parquet", (number, number))  # the stream takes the oldest first


def test_a_batch_gives_the_summaries_of_the_log(
    model: Model, project: Project, job: Any, tmp_path: Path
) -> None:
    logged = logged_model(project, 4_800)
    fill_lake(tmp_path / "lake", table_of(4_800), files=3)

    assert "new" in ended(job("batch", "2026-01-05"), tmp_path)
    assert "known" in ended(job("batch", "2026-01-05"), tmp_path)

    assert differences(model, logged) == []
    assert rows_counted(model) == 4_800


def test_numbers_that_come_late_or_never_have_a_centre_and_bad_rows_stop_nothing(
    model: Model, job: Any, tmp_path: Path
) -> None:
    FeatureProfile.objects.filter(model=model).delete()
    version = model.versions.get()
    [income] = [one for one in version.signature["features"] if one["name"] == "income"]
    version.signature["features"] += [{**income, "name": name} for name in ("unknown", "absent", "no.number")]
    version.save(update_fields=["signature"])
    table = table_of(4_800)
    late = pa.array([None] * 2_400 + [100.0] * 1_201 + [float("nan")] * 1_199)
    none = pa.array([None] * 4_800, pa.float64())
    table = table.set_column(table.schema.get_field_index("income"), "income", late)
    table = table.append_column("unknown", none).append_column("no.number", late)
    times = table["timestamp"].to_pylist()
    times[:2] = [None, times[1].replace(year=2999)]
    fill_lake(
        tmp_path / "lake", table.set_column(0, "timestamp", pa.array(times, table["timestamp"].type)), 3
    )

    assert "new" in ended(job("batch", "2026-01-05"), tmp_path)

    centres = dict(FeatureProfile.objects.filter(model=model).values_list("feature", "centre"))
    assert centres == {"income": 100.0, "unknown": 0.0, "absent": 0.0, "no.number": 100.0}
    assert rows_counted(model) == 4_798


def test_arrays_of_numbers_become_what_the_log_keeps_of_vectors(
    model: Model, job: Any, tmp_path: Path
) -> None:
    version = model.versions.get()
    [income] = [one for one in version.signature["features"] if one["name"] == "income"]
    version.signature["features"] += [{**income, "name": part} for part in part_names("photo", 2)]
    version.save(update_fields=["signature"])
    VectorFeature.objects.create(version=version, feature="photo", dimension=2)
    photos = pa.array([[3.0, 4.0, 0.0], *[[3.0, 4.0]] * 4_798, None], pa.list_(pa.float32()))
    fill_lake(tmp_path / "lake", table_of(4_800).append_column("photo", photos), files=3)

    assert "new" in ended(job("batch", "2026-01-05"), tmp_path)

    assert rows_counted(model) == 4_799  # the log would refuse the first one
    hours = [
        found.features
        for (span, _, segment), found in summaries(model).items()
        if (span, segment) == ("hour", "")
    ]
    norms = [hour["photo.norm"] for hour in hours]
    assert {(norm.minimum, norm.maximum) for norm in norms} == {(5.0, 5.0)}
    assert (sum(norm.n for norm in norms), sum(norm.missing for norm in norms)) == (4_798, 1)
    assert {hour["photo.projection_02"].maximum for hour in hours} == {4.0}


def test_a_stream_that_is_killed_counts_each_row_once(model: Model, job: Any, tmp_path: Path) -> None:
    fill_lake(tmp_path / "lake", table_of(4_800), files=12)
    kills = 0
    for after in (2, 6):
        process = job("stream", "live")
        wait_until(
            lambda after=after: SummaryBatch.objects.filter(model=model).count() >= after,
            seconds=PATIENCE_SECONDS,
        )
        os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL

    ended(job("stream", "live"), tmp_path)

    assert kills == 2
    assert rows_counted(model) == 4_800
    day = Summary.objects.get(model=model, span="day", start=DAY, segment="")
    assert day.rows == 4_800
    assert DAY + timedelta(days=1) > Summary.objects.filter(model=model).latest("start").start

"""A real Flink summarises as Driftline does, in a batch and as a stream that is killed: each row counts once."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Model
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
    unlogged_model,
)
from tests.waiting import wait_until
from tests.worlds.approvals import table_of

pytestmark = [pytest.mark.e2e, pytest.mark.streams, pytest.mark.django_db(transaction=True)]

FLINK = ROOT / ".streams/flink/bin/python"
ROWS = int(os.environ.get("DRIFTLINE_TEST_FLINK_ROWS", "4800"))


@pytest.fixture(scope="module", autouse=True)
def flink() -> None:
    if shutil.which("java") is None:
        pytest.skip("There is no Java; install one, such as 'apt-get install openjdk-21-jre-headless'.")
    subprocess.run([HERE / "install", "flink"], check=True)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def model(project: Project) -> Model:
    return unlogged_model(project)


@pytest.fixture
def job(model: Model, live_server: Any, tmp_path: Path) -> Iterator[Callable[[str, str], Popen[bytes]]]:
    """Start a job over the lake, as a batch or a stream of that name."""
    _, token = create_token(project=model.project, name="flink", scopes=[Scope.LOG], actor="ada")
    with jobs([FLINK, HERE / "flink_job.py"], {}, tmp_path) as start:
        place = [live_server.url, model.name, token, str(tmp_path / "lake")]
        yield lambda how, name: start(how, *place, name)


def fill_lake(folder: Path, table: pa.Table) -> None:
    """Write rows as Flink reads them without a library of its own: JSON, a row a line."""
    folder.mkdir()
    rows = table.to_pylist()
    lines = [
        msgspec.json.encode(row | {"timestamp": row["timestamp"].replace(tzinfo=None).isoformat()})
        for row in rows
    ]
    (folder / "rows.json").write_bytes(b"\n".join(lines))


def test_a_batch_gives_the_summaries_of_the_log(
    model: Model, project: Project, job: Callable[[str, str], Popen[bytes]], tmp_path: Path
) -> None:
    logged = logged_model(project, ROWS)
    fill_lake(tmp_path / "lake", table_of(ROWS))

    assert "new" in ended(job("batch", "2026-01-05"), tmp_path)
    assert "known" in ended(job("batch", "2026-01-05"), tmp_path)

    assert differences(model, logged) == []
    assert rows_counted(model) == ROWS


def test_a_stream_that_is_killed_and_begins_again_counts_each_row_once(
    model: Model, project: Project, job: Callable[[str, str], Popen[bytes]], tmp_path: Path
) -> None:
    logged = logged_model(project, ROWS)
    fill_lake(tmp_path / "lake", table_of(ROWS))
    process = job("stream", "live")
    wait_until(
        lambda: SummaryBatch.objects.filter(model=model).count() >= 3 or process.poll() is not None,
        seconds=PATIENCE_SECONDS,
    )
    assert process.poll() is None, (tmp_path / "job.log").read_text()[-3_000:]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    lines = ended(job("stream", "live"), tmp_path).splitlines()

    assert lines.count("known") >= 3
    assert differences(model, logged) == []
    assert rows_counted(model) == ROWS

"""The example for a cluster trains the challenger of a whole run with a real Dask, from parts on an S3 server."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
import pytest

from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote import snapshot_file
from monitors.workflows.remote.snapshot_store import remove_due_parts
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import SECRET
from tests.monitors.workflows.remote.service import Service
from tests.orchestrators.s3_server import BUCKET, s3_server
from tests.orchestrators.server import ENVIRONMENTS, PATIENCE_SECONDS, SOURCES
from tests.worlds.turning_flights import World

pytestmark = [pytest.mark.orchestrators, pytest.mark.e2e]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    subprocess.run([SOURCES / "install", "dask"], check=True)
    with s3_server(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture
def ordered(
    turned_world: World,
    s3: dict[str, str],
    live_server: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """A run of which the pipeline was started, and its order, with its parts in the bucket."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(snapshot_file, "PART_ROWS", 400)
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    settings.SNAPSHOT_STORE = f"s3://{BUCKET}/{tmp_path.name}"
    with Service(lambda asked: (202, None)) as service:
        services.configure_workflow(
            model=turned_world.model,
            actor="ada",
            trainer="remote",
            remote={"kind": "http", "url": service.url},
            remote_secret=SECRET,
        )
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
        advance(run_id=run.pk)
        yield run, service.asked[0].json


def train(order: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "HOME": str(folder), "DASK_WORKER_MEMORY": "600MiB"}
    program = [ENVIRONMENTS / "dask/bin/python", SOURCES.parents[1] / "docs/guides/cluster_training.py"]
    return subprocess.run(
        program,
        input=json.dumps(order).encode(),
        env=environment,
        cwd=folder,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )


def objects(folder: Path) -> list[str]:
    """List what a test has in the bucket: its parts lie below the name of its folder."""
    store = pyarrow.fs.FileSystem.from_uri(f"s3://{BUCKET}")[0]
    found = store.get_file_info(
        pyarrow.fs.FileSelector(f"{BUCKET}/{folder.name}", recursive=True, allow_not_found=True)
    )
    return sorted(info.path for info in found if info.is_file)


def paths_of(order: dict[str, Any]) -> list[str]:
    urls = [urlsplit(part["url"]) for part in order["snapshot"]["parts"]]
    return [url.netloc + url.path for url in urls]


def test_trains_from_a_bucket_and_is_promoted(
    ordered: tuple[Run, dict[str, Any]], turned_world: World, tmp_path: Path
) -> None:
    run, order = ordered
    assert objects(tmp_path) == paths_of(order)
    assert len(paths_of(order)) > 2

    ended = train(order, tmp_path)

    assert ended.returncode == 0, ended.stderr.decode()
    training = RemoteTraining.objects.get(run=run)
    assert "mean loss" in training.message
    remove_due_parts(training.pk)
    assert objects(tmp_path) == []
    advance(run_id=run.pk)
    for day in (11, 12):
        turned_world.send_day(day)
    advance(run_id=run.pk)
    assert Run.objects.get(pk=run.pk).state == "promoted"


def test_says_which_part_is_damaged(ordered: tuple[Run, dict[str, Any]], tmp_path: Path) -> None:
    run, order = ordered
    store = pyarrow.fs.FileSystem.from_uri(f"s3://{BUCKET}")[0]
    with store.open_output_stream(paths_of(order)[1]) as file:
        file.write(b"PAR1")

    train(order, tmp_path)

    failure = RemoteTraining.objects.get(run=run).failure
    assert order["snapshot"]["parts"][1]["url"] in failure


def test_reads_parts_over_http_where_there_is_no_store(
    ordered: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    run, order = ordered
    for number, part in enumerate(order["snapshot"]["parts"]):
        part["url"] = f"{order['snapshot']['url']}?part={number}"

    ended = train(order, tmp_path)

    assert ended.returncode == 0, ended.stderr.decode()
    assert RemoteTraining.objects.get(run=run).artifact_sha256

"""Every row of every day is in the bucket once, though its writer is killed again and again."""

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.conf import settings

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import encrypt
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.store import open_lake, settings_of
from inference.registry.models import Model
from tests.embedded import CHECKOUT, subprocess_environment
from tests.streams.object_store import BUCKET, object_server
from tests.waiting import wait_until
from tests.worlds.approvals import DAY, log, rows_of_a_day, work

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

DAYS, ROWS_A_DAY, KILLS = 30, 2_000, 12
ACTIONS = ("s3:PutObject", "s3:AbortMultipartUpload")


def start_writer(folder: Path) -> subprocess.Popen[bytes]:
    same = {
        "DRIFTLINE_HOME": str(settings.HOME),
        "DRIFTLINE_SECRET_KEY": settings.SECRET_KEY,
        "DRIFTLINE_OUTBOUND_ALLOW": "127.0.0.1/32",
        "DJANGO_SETTINGS_MODULE": "driftline.settings",
    }
    with (folder / "writer.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.streams.lake_writer"],
            cwd=CHECKOUT,
            env=subprocess_environment() | same,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def written() -> int:
    return LakeFile.objects.exclude(written_at=None).count()


def write_with_kills(folder: Path) -> None:
    for kill in range(KILLS):
        writer = start_writer(folder)
        goal = DAYS * kill // KILLS
        wait_until(lambda goal=goal: written() > goal, seconds=300, what=f"more than {goal} days")  # type: ignore[misc]
        if kill % 2:  # while a draft is being sent or completed
            wait_until(LakeFile.objects.exclude(draft="").exists, seconds=300, what="a draft")
        writer.kill()
        writer.wait()
        LakeFile.objects.update(lease_until=None)  # in place of a minute
    assert start_writer(folder).wait(300) == 0, (folder / "writer.log").read_text()[-2000:]


def test_a_bucket_that_checks_signatures(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bucket").mkdir()
    for day in range(DAYS):
        log(model, rows_of_a_day(DAY + timedelta(days=day), ROWS_A_DAY))
    work(model)
    with object_server(tmp_path) as server:
        key_id, secret = server.fill(tmp_path / "bucket", *ACTIONS)
        where = LakeSettings(bucket=BUCKET, endpoint=server.url, access_key_id=key_id, prefix="days")
        lake = Lake.objects.create(
            project=model.project, settings=where.model_dump(mode="json"), secret=encrypt(secret)
        )
        for day in range(DAYS):
            LakeFile.objects.create(
                model=model, day=(DAY + timedelta(days=day)).date(), number=0, state="waiting", due_at=now(),
                path=f"model=approvals/date={DAY + timedelta(days=day):%Y-%m-%d}/part-{model.pk}-0.parquet",
            )  # fmt: skip

        write_with_kills(tmp_path)

        copied = copy_all(lake, tmp_path / "copied")
    with capsys.disabled():
        files = LakeFile.objects.written().count()
        print(
            f"\n  {DAYS * ROWS_A_DAY:,} rows of {DAYS} days, {files} files, {KILLS} kills: {copied}", end=""
        )
    assert copied == [(DAYS, DAYS * ROWS_A_DAY, DAYS * ROWS_A_DAY)]


def copy_all(lake: Lake, folder: Path) -> list[tuple[Any, ...]]:
    """Copy the lake and count its days, its rows and their ids."""
    store = open_lake(lake)
    for file in LakeFile.objects.written():
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.read(settings_of(lake).name_of(file.path)) as content:
            assert content is not None
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
    store.close()
    with duckdb.connect() as connection:
        lake_files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        return connection.execute(
            f"SELECT count(DISTINCT date), count(*), count(DISTINCT id) FROM {lake_files}"
        ).fetchall()

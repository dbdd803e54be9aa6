"""The rows that a run hands out: to whom, audited, and as they are after an erasure."""

import base64
import hashlib
from io import BytesIO

import pandas as pd
import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import create_token
from monitors.erasure import erase_from_runs
from monitors.workflows.context import run_folder
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote import snapshot_file
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import (
    Pipeline,
    configure,
    erasing,
    looked_at,
    path_of,
    train,
    verified,
)
from tests.monitors.workflows.remote.service import Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


class TestSnapshot:
    def test_needs_reading_from_a_token_of_the_project(
        self, run: Run, pipeline: Pipeline, client: Client
    ) -> None:
        project = run.model.project
        _, deploy = create_token(project=project, name="ci", scopes=[Scope.DEPLOY], actor="ada")
        _, both = create_token(project=project, name="all", scopes=[Scope.DEPLOY, Scope.READ], actor="ada")

        pipeline.token = deploy
        refused = pipeline.snapshot()
        pipeline.token = both

        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert len(pipeline.rows()) == pipeline.order["snapshot"]["rows"]

    def test_is_audited_when_it_is_first_handed_out(self, run: Run, pipeline: Pipeline) -> None:
        pipeline.rows()
        pipeline.rows()

        entry = AuditEntry.objects.get(action="run.snapshot")
        assert entry.actor == f"pipeline of run {run.pk}"
        assert entry.after == {"rows": pipeline.order["snapshot"]["rows"]}


class TestParts:
    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snapshot_file, "PART_ROWS", 400)

    def test_hold_the_rows_of_the_whole_once_each(self, pipeline: Pipeline) -> None:
        ordered = pipeline.order["snapshot"]
        contents = [b"".join(pipeline.part(n).streaming_content) for n in range(len(ordered["parts"]))]

        parts = [pd.read_parquet(BytesIO(content)) for content in contents]

        assert len(parts) > 2
        assert max(map(len, parts)) <= 400
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), pipeline.rows())
        for content, part, listed in zip(contents, parts, ordered["parts"], strict=True):
            assert listed["sha256"] == hashlib.sha256(content).hexdigest()
            assert listed["rows"] == len(part)

    def test_are_read_here_where_there_is_no_store(self, pipeline: Pipeline) -> None:
        ordered = pipeline.order["snapshot"]

        answer = pipeline.snapshot(path_of(ordered["parts"][1]["url"]))

        content = b"".join(answer.streaming_content)
        assert hashlib.sha256(content).hexdigest() == ordered["parts"][1]["sha256"]

    def test_are_fewer_where_rows_are_wide(
        self, turned_world: World, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(snapshot_file, "PART_CELLS", 1000)
        configure(turned_world.model, service)

        looked_at(starts.start_run(model=turned_world.model, trigger="ada", actor="ada"))

        assert max(part["rows"] for part in verified(service.asked[-1])["snapshot"]["parts"]) == 200

    @pytest.mark.parametrize("number", [-1, 4711])
    def test_that_there_are_not_are_answered_with_how_many_there_are(
        self, pipeline: Pipeline, number: int
    ) -> None:
        answer = pipeline.part(number)

        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_part")
        assert f"has {len(pipeline.order['snapshot']['parts'])} parts" in answer.json()["detail"]

    def test_go_with_the_snapshot_once_the_model_is_there(self, run: Run, pipeline: Pipeline) -> None:
        pipeline.artifact(train(pipeline.rows()))

        assert list(run_folder(run.pk).rglob("part-*")) == []

    def test_half_written_ones_are_written_anew(self, run: Run, pipeline: Pipeline) -> None:
        """A worker was killed before the file that says that all is there."""
        (run_folder(run.pk) / "snapshot.parquet").unlink()
        (run_folder(run.pk) / "parts/part-00099.parquet").write_bytes(b"PAR1")

        looked_at(run)

        [known] = RemoteTraining.objects.filter(run=run).values_list("snapshot", flat=True)
        assert len(known["parts"]) == len(pipeline.order["snapshot"]["parts"])
        assert not (run_folder(run.pk) / "parts/part-00099.parquet").exists()


class TestErasure:
    def test_leaves_the_order_the_file_and_its_digest_in_agreement(
        self, run: Run, pipeline: Pipeline
    ) -> None:
        rows, ordered = pipeline.rows(), pipeline.order["snapshot"]
        (run_folder(run.pk) / "snapshot.part").write_bytes(b"half of the rows")

        erase_from_runs(erasing(run, rows["time"].iloc[0]))

        download = pipeline.snapshot()
        content = b"".join(download.streaming_content)
        digest = hashlib.sha256(content)
        known = RemoteTraining.objects.get(run=run).snapshot
        assert len(pd.read_parquet(BytesIO(content))) == known["rows"] == ordered["rows"] - 1
        assert known["sha256"] == digest.hexdigest() != ordered["sha256"]
        assert known["columns"] == ordered["columns"]
        assert download["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert not (run_folder(run.pk) / "snapshot.part").exists()

    def test_of_a_lost_file_that_is_written_again_tells_what_it_is_now(
        self, run: Run, pipeline: Pipeline
    ) -> None:
        (run_folder(run.pk) / "snapshot.parquet").unlink()
        RemoteTraining.objects.filter(run=run).update(snapshot={"sha256": "0", "rows": 1, "columns": []})

        looked_at(run)

        known = RemoteTraining.objects.get(run=run).snapshot
        ordered = pipeline.order["snapshot"]
        assert {name: known[name] for name in ("sha256", "rows", "columns")} == {
            name: ordered[name] for name in ("sha256", "rows", "columns")
        }
        assert known["parts"] == [
            {"sha256": part["sha256"], "rows": part["rows"]} for part in ordered["parts"]
        ]

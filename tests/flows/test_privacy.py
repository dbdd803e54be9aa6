"""A feature that a model hashes or drops is kept in no other way, whichever way it comes in."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from driftline.base.periods import rfc3339
from inference.prediction_log.imports.bad_rows import path_of as bad_rows_of
from inference.prediction_log.imports.services import FileSender, import_upload, resume_import
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.spool.record import FeatureColumn, LoggedBatch, encode_record
from inference.prediction_log.spool.segments import SpoolWriter
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.selectors import privacies, signature_of
from inference.registry.services import update_model
from inference.serving.plan import load_plan
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.store.models import MetricPoint
from monitors.workflows.context import StepFailed
from monitors.workflows.steps.snapshot import snapshot
from tests.driftline.api.conftest import caller
from tests.flows.canary import places_of
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.slow

MAIL, NOTE = "zoe.canary@example.com", "canary-note"
NEXT_DAY = DAY + timedelta(days=1)


def keep(model: Model, **policies: str) -> None:
    update_model(model=model, actor="test", privacy=policies)
    privacies.forget()  # as the commit does, which a test's own transaction never reaches


def rows(day: object, n: int = 10, *, mails: tuple[str, ...] = (MAIL,)) -> list[SentPrediction]:
    return [
        replace(
            row,
            features={
                "income": row.features["income"],
                "email": mails[place % len(mails)],
                "note": f"{NOTE} {place}",
            },
        )
        for place, row in enumerate(rows_of_a_day(day, n))  # type: ignore[arg-type]
    ]


def spooled(model: Model) -> LoggedBatch:
    at = round((DAY + timedelta(hours=5)).timestamp() * 1e6)
    return LoggedBatch(
        model_id=model.pk,
        version_id=model.versions.get(version="1").pk,
        role="champion",
        generation=1,
        ids=["spooled"],
        client_ids=None,
        keyed=False,
        event_time_us=[at],
        received_us=at,
        latency_us=[900],
        features=[
            FeatureColumn("income", "f8", np.array([1.0]).tobytes()),
            FeatureColumn("email", "s", [MAIL]),
            FeatureColumn("note", "s", [NOTE]),
        ],
        prediction=["1"],
        probabilities=np.array([0.2, 0.8], "<f4").tobytes(),
        subjects=None,
        tags=None,
    )


def import_rows(model: Model) -> int:
    text = (
        "id,timestamp,prediction,income,email,note\n"
        f"file,{rfc3339(DAY)},1,1.5,{MAIL},{NOTE}\nbad,yesterday,1,1.5,{MAIL},{NOTE}\n"
    )
    job, _ = import_upload(
        model=model,
        kind="predictions",
        stream=BytesIO(text.encode()),
        name="mine.csv",
        version="",
        sender=FileSender("test"),
    )
    resume_import(job.pk)
    return job.pk


def give_reference(model: Model, mails: tuple[str, ...]) -> Reference:
    lines = ["income,email,label,prediction,probability,timestamp"]
    for back in (1, 2):
        lines += [
            f"{row.features['income']},{row.features['email']},1,{row.prediction},{row.probabilities},{row.timestamp}"
            for row in rows(DAY - timedelta(days=back), 300, mails=mails)
        ]
    store_reference(
        model=model,
        version="1",
        stream=BytesIO("\n".join(lines).encode()),
        content_type="text/csv",
        actor="test",
    )
    reference = Reference.objects.get(model=model)
    build_reference(reference.pk)
    return reference


class TestEveryWayIn:
    def test_keeps_neither_the_clear_text_of_a_hash_nor_anything_that_is_dropped(
        self, model: Model, home: Path
    ) -> None:
        keep(model, email="hash", note="drop")

        log(model, rows(DAY))
        job_id = import_rows(model)
        writer = SpoolWriter(home, "serving")
        writer.append([encode_record(spooled(model))], sync=False)
        drain_once(home)
        work(model)

        spool = f"spool/serving/{1:08d}.log"  # what a process spooled before it knew of the policy
        assert places_of(MAIL, home) | places_of(NOTE, home) == {spool}
        frame_ = frame_of(model=model, start=DAY, end=NEXT_DAY)
        assert set(frame_.features) == {"income", "email"}
        assert len(frame_) == 12
        [hashed] = set(frame_.features["email"])  # one person is one value, whichever way it came
        assert hashed.startswith("hmac:")
        told = bad_rows_of(SimpleNamespace(pk=job_id)).read_text().splitlines()[1]  # type: ignore[arg-type]
        assert told.endswith("1,1.5,(not kept),(not kept)")

    def test_hashes_apart_in_each_model(self, project: Project, model: Model) -> None:
        other = make_model(project, "other")
        for one in (model, other):
            keep(one, email="hash")
            log(one, rows(DAY))

        hashes = [
            set(frame_of(model=one, start=DAY, end=NEXT_DAY).features["email"]) for one in (model, other)
        ]

        assert hashes[0] != hashes[1]

    def test_hashes_whole_numbers_alike_in_whatever_type_they_come(self, model: Model) -> None:
        keep(model, account="hash")
        sent = [
            replace(row, features={"account": value})
            for row, value in zip(rows_of_a_day(DAY, 3), [42, 42.0, "42"], strict=True)
        ]
        for row in sent:
            log(model, [row])

        assert len(set(frame_of(model=model, start=DAY, end=NEXT_DAY).features["account"])) == 1


class TestDrift:
    def test_is_found_on_hashes_as_it_would_be_on_the_clear_text(self, model: Model) -> None:
        mails = ("ada@example.com", "bob@example.com", "cy@example.com")
        log(model, rows(DAY - timedelta(days=3), 3, mails=mails))
        keep(model, email="hash")
        reference = give_reference(model, mails)
        log(model, rows(DAY, 300, mails=mails))
        log(model, rows(NEXT_DAY, 300, mails=(*mails, MAIL, MAIL)))

        work(model)

        psi = MetricPoint.objects.filter(
            model=model, metric="psi", feature="email", span="day", version="", start__gte=DAY
        )
        calm, moved = psi.order_by("start").values_list("value", flat=True)
        assert calm < 0.05
        assert moved > 0.3
        assert b"ada@" not in bytes(reference.payload or b"")

    def test_goes_on_with_a_reference_that_was_there_before(self, model: Model) -> None:
        mails = ("ada@example.com", "bob@example.com")
        reference = give_reference(model, mails)
        log(model, rows(DAY - timedelta(days=3), 300, mails=mails))
        work(model)  # with the reference as it was, which a process has in memory from now on
        keep(model, email="hash")
        reference.refresh_from_db()
        assert reference.state == "building"
        build_reference(reference.pk)

        log(model, rows(DAY, 300, mails=mails))
        work(model)

        assert MetricPoint.objects.get(
            model=model, metric="psi", feature="email", span="day", version="", start=DAY
        ).value < 0.05  # fmt: skip


class TestSetting:
    def test_changes_the_features_that_are_named_and_leaves_an_audit_row(self, model: Model) -> None:
        api = caller("bank")
        path = f"/models/{model.name}"

        api.send("PATCH", path, {"privacy": {"email": "hash", "note": "drop"}})
        told = api.send("PATCH", path, {"privacy": {"note": "keep"}}).json()

        assert told["privacy"] == {"email": "hash"}
        assert api.get(path).json()["privacy"] == {"email": "hash"}
        assert AuditEntry.objects.filter(action="model.update").latest("pk").after == {
            "privacy": {"email": "hash"}
        }

    def test_reaches_the_plan_that_serving_processes_read(
        self, model: Model, home: Path, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            keep(model, email="hash")

        [planned] = load_plan(home / "plan.json").models
        assert planned.privacy == {"email": "hash"}

    @pytest.mark.parametrize("privacy", [{"email": "burn"}, {"": "hash"}, {"x" * 101: "drop"}, ["email"]])
    def test_refuses_what_is_no_policy(self, model: Model, privacy: object) -> None:
        answer = caller("bank").send("PATCH", f"/models/{model.name}", {"privacy": privacy})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/privacy")
        model.refresh_from_db()
        assert model.privacy == {}

    def test_refuses_to_hash_what_has_been_a_number(self, model: Model) -> None:
        log(model, rows(DAY))
        work(model)

        with pytest.raises(Problem) as refused:
            keep(model, income="hash")

        assert refused.value.code == "not_text"
        assert refused.value.errors[0].pointer == "/privacy/income"

    def test_keeps_a_run_from_learning_from_what_is_not_as_it_was_sent(self, model: Model) -> None:
        give_reference(model, (MAIL,))
        keep(model, email="drop")
        version = model.versions.get()
        context = SimpleNamespace(signature=signature_of(version), model=model)

        with pytest.raises(StepFailed, match="'email' as a hash or not at all"):
            snapshot(context)  # type: ignore[arg-type]

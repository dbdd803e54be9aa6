"""A person is erased: a canary that was logged through every way in is found nowhere afterwards."""

import time
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from django.core.mail import EmailMessage
from django.db import connection
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.keys.home_keys import key_of_home
from driftline.base.periods import Period, rfc3339
from driftline.operations.invariants import check_all
from inference.data_files.columns import ColumnRole, FileKind
from inference.hosts.services import add_host
from inference.hosts.statuses import HostStatus, record_status
from inference.prediction_log.encryption.sealed_chunks import is_sealed
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import rows, spool
from inference.prediction_log.imports.confirming import confirm_file
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_upload, resume_import
from inference.prediction_log.imports.staging import ReadingChoice, stage_file
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.items import LabelItem
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, PredictionRow, SpoolCursor
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.spool.record import FeatureColumn, LoggedBatch, encode_record
from inference.prediction_log.spool.sealing import KEY_FILE
from inference.prediction_log.spool.segments import SpoolWriter
from inference.registry.files.datasets import path_of, store_reference, store_table
from inference.registry.models import Dataset, Model
from inference.registry.selectors import privacy_of, signature_of
from inference.registry.services import update_model
from inference.serving.jobs.store import Job, JobStore
from inference.serving.plan import PlanCallback
from inference.serving.status.host_status import all_counts
from inference.serving.status.status import counts_to_send
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending.job_callbacks import hand_over
from monitors.annotations.models import Annotation
from monitors.annotations.services import create_annotation
from monitors.definitions.choosing import ReferenceChoice, choose_reference
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.models import CustomMetric, Reference
from monitors.definitions.segments import declare_segment, set_segments
from monitors.definitions.services import build_reference
from monitors.metrics.references.loaded import reference_in_use
from monitors.metrics.store.models import MetricPoint, SegmentSearch
from monitors.reports.models import Report
from monitors.rules.models import Rule, RuleState, Transition
from monitors.rules.services import create_rule
from monitors.stats.mergeable.sketches import CategoricalSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import Summary
from monitors.summaries.services import summarise
from monitors.workflows.models import Workflow
from monitors.workflows.services import configure_workflow
from monitors.workflows.starting.snapshots import from_log
from tests.driftline.api.conftest import Api, caller
from tests.flows.canary import places_of
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.inference.serving.jobs.made_jobs import a_job
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, work
from tests.worlds.incidents import open_incident

pytestmark = pytest.mark.slow

CANARY = "canary.Zo\u00eb-4711@example.com"
OTHERS = ("ada", "bob", "cy")
NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))


@pytest.fixture(autouse=True)
def mail_in_home(home: Path, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(home / "mail")


@pytest.fixture
def api(project: Project) -> Api:
    return caller("bank")


@pytest.fixture
def model(project: Project) -> Model:
    model = make_model(project)
    set_segments(model=model, features=["customer"], actor="test")
    return model


def customers(day: Any, n: int = 60) -> list[SentPrediction]:
    """A day's rows of other people."""
    return [
        replace(
            row,
            features={"income": row.features["income"], "customer": OTHERS[place % 3]},
            subject=OTHERS[place % 3],
        )
        for place, row in enumerate(rows_of_a_day(day, n))
    ]


def of_canary(day: Any, *names: str) -> list[SentPrediction]:
    """Rows that name the canary wherever a caller can put it."""
    return [
        replace(
            row,
            id=f"{CANARY}-{name}",
            features={"income": 2.0, "customer": CANARY},
            subject=CANARY,
            tags={"mail": CANARY},
        )
        for name, row in zip(names, rows_of_a_day(day, len(names), seed=9), strict=True)
    ]


def give_reference(model: Model) -> Reference:
    days = [DAY - timedelta(days=back) for back in (1, 2)]
    rows = [row for day in days for row in [*customers(day), *of_canary(day, "r")]]
    lines = ["income,customer,label,prediction,probability,timestamp"]
    lines += [
        f"{row.features['income']},{row.features['customer']},1,{row.prediction},{row.probabilities},{row.timestamp}"
        for row in rows
    ]
    store_reference(
        model=model,
        version="1",
        stream=_stream("\n".join(lines)),
        content_type="text/csv",
        actor="test",
    )
    reference = Reference.objects.get(model=model)
    build_reference(reference.pk)
    return reference


def _stream(text: str) -> BytesIO:
    return BytesIO(text.encode())


def spool_batch(model: Model) -> LoggedBatch:
    """What a serving process writes for a request of the canary's."""
    at = round((DAY + timedelta(hours=5)).timestamp() * 1e6)
    return LoggedBatch(
        model_id=model.pk,
        version_id=model.versions.get(version="1").pk,
        role="champion",
        generation=1,
        ids=["0198c0de-0000-7000-8000-000000000001"],
        client_ids=[f"{CANARY}/request"],
        keyed=False,
        event_time_us=[at],
        received_us=at,
        latency_us=[900],
        features=[
            FeatureColumn("income", "f8", np.array([1.0]).tobytes()),
            FeatureColumn("customer", "s", [CANARY]),
        ],
        prediction=["1"],
        probabilities=np.array([0.2, 0.8], "<f4").tobytes(),
        subjects=[CANARY],
        tags=[{"mail": CANARY}],
    )


class World:
    """An installation in which the canary is everywhere."""

    def __init__(self, model: Model, home: Path) -> None:
        self.model, self.home = model, home
        self.reference = give_reference(model)
        self.log_rows()
        self.spool()
        self.import_file()
        define_metric(model=model, name=CANARY, expression="count()", actor="test")
        work(model)
        self.look()
        self.write_derived()

    def log_rows(self) -> None:
        model = self.model
        log(model, customers(DAY))
        log(model, of_canary(DAY, "packed", "packed too"))
        copy = replace(of_canary(DAY, "packed")[0], role="shadow", version="2", tags=None, subject=None)
        log(model, [replace(copy, features={"income": 2.0, "customer": "ada"})])
        label(model, [LabelItem(f"{CANARY}-packed", "0", None)])
        label(model, [LabelItem(f"{CANARY}-packed", "1", None), LabelItem(f"{CANARY}-fresh", "1", None)])
        grow_old()
        pack_all()
        log(model, customers(NEXT_DAY))
        log(model, of_canary(NEXT_DAY, "fresh"))

    def spool(self) -> None:
        self.writer = SpoolWriter(self.home, "serving")
        self.writer.append([encode_record(spool_batch(self.model))], sync=False)
        drain_once(self.home)

    def import_file(self) -> None:
        rows = [
            "id,timestamp,prediction,income,customer,subject",
            f"{CANARY}-file,{rfc3339(DAY)},1,1.5,{CANARY},{CANARY}",
            f"{CANARY}-bad,yesterday,1,1.5,{CANARY},{CANARY}",
            "bad,yesterday,1,1.5,ada,ada",
        ]
        self.job, _ = import_upload(
            model=self.model,
            kind="predictions",
            stream=_stream("\n".join(rows) + "\n"),
            name=f"{CANARY}.csv",
            version="",
            sender=FileSender("test"),
        )
        resume_import(self.job.pk)
        self.confirm_file()

    def confirm_file(self) -> None:
        """A file that was looked at first: how it was read is remembered, with the name of a column."""
        rows = [f"id;label;{CANARY}", "nobody;1;x"]
        file = stage_file(
            model=self.model, stream=_stream("\n".join(rows)), name=f"{CANARY}.csv", actor="test"
        )
        choice = ReadingChoice(kind=FileKind.LABELS, columns={CANARY: ColumnRole.IGNORED})
        confirm_file(file=file, choice=choice, version="", sender=FileSender("test"))
        resume_import(Import.objects.latest("pk").pk)

    def look(self) -> None:
        """Page through the canary's rows, which leaves audit rows."""
        list_of = f"/models/{self.model.name}/predictions"
        found = caller("bank").get(f"{list_of}?segment={quote('customer:' + CANARY)}").json()
        caller("bank").get(f"{list_of}/{quote(found['items'][0]['id'])}")

    def write_derived(self) -> None:
        self.take_snapshot()
        self.end_jobs()
        self.open_incident()
        (self.home / "reports").mkdir()
        (self.home / "reports" / "1.html").write_text(f"<td>{CANARY}</td>")
        self.report = Report.objects.create(
            model=self.model, start=DAY, end=NEXT_DAY, state="ready", path="reports/1.html", created_by="test"
        )
        EmailMessage("Incident", f"The segment {CANARY} moved: \u00fcber 3", to=["a@example.com"]).send()
        (self.home / "log").mkdir(exist_ok=True)
        (self.home / "log" / "web.log").write_text(f"one\nbad subject {CANARY!r} refused\ntwo\n")

    def take_snapshot(self) -> None:
        version = self.model.versions.get(version="1")
        frame = frame_of(model=self.model, start=DAY, end=DAY + timedelta(days=2))
        store_table(
            model=self.model, version=None, kind="snapshot", table=from_log(frame, signature_of(version))
        )

    def end_jobs(self) -> None:
        channel = Channel.objects.create(
            project=self.model.project, kind="callback", name="app", target="https://app.example.com"
        )
        store = JobStore(self.home, sync=False, keep_seconds=3600)
        for prediction_id, body in (
            (spool_batch(self.model).ids[0], b"{}"),
            ("other", b'{"parameters":{"driftline_subject":"canary.Zo\\u00eb-4711@example.com"}}'),
        ):
            job = Job(
                id=f"0198c0de-{prediction_id[:4]}-7000-8000-000000000001",
                project_id=self.model.project_id,
                model_id=self.model.pk,
                model=self.model.name,
                version="1",
                role="champion",
                prediction_id=prediction_id,
                accepted_at=time.time(),
                deadline_at=time.time() + 60,
                path="/v2/models/approvals/infer",
                headers={},
                callback=PlanCallback(channel.pk, channel.project_id, "app"),
            )
            store.add(job, body)
            if prediction_id != "other":
                claim = store.claim(job.name)
                assert claim is not None
                fields = f"content-type: application/json\r\ndriftline-prediction-id: {prediction_id}\r\n"
                claim.end(200, fields.encode(), f'{{"id":"{CANARY}"}}'.encode())
                claim.release()
        assert hand_over(self.home) == 1

    def open_incident(self) -> None:
        project = self.model.project
        rule = Rule.objects.create(
            project=project, model=self.model, name="r", metric="psi", threshold=1,
            cooldown=timedelta(1), notify_within=timedelta(1),
        )  # fmt: skip
        RuleState.objects.create(rule=rule)
        Rule.objects.create(
            project=project, model=self.model, name="of one customer", metric="count", threshold=1,
            condition={
                "any": [
                    {"metric": "count", "threshold": 1},
                    {"metric": "accuracy", "segment": f"customer:{CANARY}", "threshold": 1},
                ]
            },
            cooldown=timedelta(1), notify_within=timedelta(1),
        )  # fmt: skip
        transition = Transition.objects.create(
            rule=rule, model=self.model, kind="opened", window_start=DAY, window_end=NEXT_DAY, n=1, threshold=1,
            detail={"causes": [{"segment": f"customer:{CANARY}"}]},
        )  # fmt: skip
        open_incident(
            transition,
            title=f"customer:{CANARY} moved",
            causes=[{"segment": f"customer:{CANARY}", "score": 1}],
        )
        declare_segment(
            model=self.model, name="", conditions=[{"feature": "customer", "value": CANARY}], actor="test"
        )
        define_metric(
            model=self.model, name="one customer", expression=f'share(customer == "{CANARY}")', actor="test"
        )
        configure_workflow(
            model=self.model, actor="test", gate={"margins": {"custom:one customer": 0.1, "log_loss": 0.02}}
        )
        create_rule(
            project=project, model=self.model, actor="test", name="on the metric",
            condition={
                "any": [
                    {"metric": "count", "threshold": 1},
                    {"metric": "custom", "feature": "one customer", "threshold": 1},
                ]
            },
        )  # fmt: skip
        create_annotation(
            model=self.model, start=DAY, text=f"called {CANARY}", link=f"https://crm.example/?who={quote(CANARY)}",
            actor="test",
        )  # fmt: skip
        SegmentSearch.objects.create(
            model=self.model, start=DAY, end=NEXT_DAY, loss="log_loss", state="ready", requested_by="rules",
            findings={"found": {"found": [{"conditions": [{"feature": "customer", "value": CANARY}]}]}},
        )  # fmt: skip


@pytest.fixture
def world(model: Model, home: Path) -> World:
    return World(model, home)


def erase(api: Api, key: str = CANARY) -> dict[str, Any]:
    answer = api.send("DELETE", f"/subjects/{quote(key, safe='')}")
    assert answer.status_code == 202, answer.content
    told: dict[str, Any] = answer.json()
    return told


def go_on_until_done(api: Api, receipt: dict[str, Any]) -> dict[str, Any]:
    for _ in range(20):
        services.resume_erasure(receipt["id"])
        told: dict[str, Any] = api.get(f"/erasures/{receipt['id']}").json()
        if told["state"] == "done":
            return told
    raise AssertionError(told)


PLACES = {
    "accounts_auditentry.after": True,
    "inference_dataset.path": False,
    "inference_label.given_id": True,
    "inference_import.file_name": True,
    "monitors_rule.condition": True,
    "monitors_incident.title": True,
    "monitors_incident.causes": True,
    "monitors_transition.detail": True,
    "monitors_segmentsearch.findings": True,
    "monitors_annotation.text": True,
    "monitors_segment.name": True,
    "monitors_custommetric.expression": True,
    "monitors_pointname.feature": True,
    "monitors_segment.conditions": True,
    "monitors_delivery.body": True,
    "monitors_summary.payload": True,
    "monitors_summary.segment": True,
    "monitors_packedpoints.segment": True,
    "monitors_reference.payload": True,
    "reports/1.html": True,
    "log/web.log": True,
    "spool/serving/00000001.log": True,
}


class TestTheCanary:
    def test_is_found_nowhere_after_it_was_everywhere(self, api: Api, world: World) -> None:
        before = places_of(CANARY, world.home)
        assert {place for place, is_there in PLACES.items() if is_there} <= before
        assert len([place for place in before if place.startswith("inference_predictionchunk_")]) == 2
        assert [place for place in before if place.startswith("inference_predictionrow_w")]
        assert len([place for place in before if place.startswith("datasets/")]) == 2
        assert f"imports/{world.job.pk}-bad-rows.csv" in before
        assert [place for place in before if place.startswith("jobs/ended/")]
        assert list((world.home / "jobs" / "open").iterdir())  # with the canary in escapes
        assert list((world.home / "mail").iterdir())  # in base64 or quoted-printable

        receipt = go_on_until_done(api, erase(api))

        assert places_of(CANARY, world.home) == set()
        assert places_of("canary.Zo", world.home) == set()
        assert not list((world.home / "jobs" / "open").iterdir())
        assert not list((world.home / "mail").iterdir())
        assert Annotation.objects.get().link == ""
        assert not CustomMetric.objects.exists()
        assert not Rule.objects.filter(name="on the metric").exists()
        assert Workflow.objects.get().gate == {"margins": {"log_loss": 0.02}}
        told = {
            name: receipt["counts"][name]
            for name in ("predictions", "shadow_rows", "labels", "bad_rows", "jobs", "mails", "log_lines")
        }
        assert told == {
            "predictions": 5,
            "shadow_rows": 1,
            "labels": 3,
            "bad_rows": 1,
            "jobs": 2,
            "mails": 1,
            "log_lines": 1,
        }
        assert receipt["requested_by"]
        assert receipt["finished_at"]
        assert Erasure.objects.get().sealed is None

    def test_takes_nobody_else_along(self, api: Api, world: World) -> None:
        go_on_until_done(api, erase(api))
        work(world.model)

        frame = frame_of(model=world.model, start=DAY, end=DAY + timedelta(days=2))
        assert len(frame) == 120
        assert set(frame.features["customer"]) == set(OTHERS)
        counts = MetricPoint.objects.filter(
            model=world.model, metric="count", span="day", role="champion", version="", segment=""
        )
        assert dict(counts.values_list("start", "value")) == {DAY: 60, NEXT_DAY: 60}
        assert not [result for result in check_all() if not result.holds]
        snapshot = Dataset.objects.get(kind="snapshot")
        assert path_of(snapshot).exists()
        assert snapshot.rows == 117  # without those of the very microseconds of the canary: it has no ids
        assert "ada" in (world.home / "imports" / f"{world.job.pk}-bad-rows.csv").read_text()
        assert Import.objects.get(pk=world.job.pk).bad_rows == 1
        world.report.refresh_from_db()
        assert world.report.state == "queued"  # it is built anew
        assert (world.home / "log" / "web.log").read_text().splitlines()[::2] == ["one", "two"]

    def test_may_come_again(self, api: Api, world: World) -> None:
        go_on_until_done(api, erase(api))

        log(world.model, of_canary(DAY, "packed"))

        assert PredictionRow.objects.filter(prediction_id=f"{CANARY}-packed").count() == 1
        assert not Label.objects.filter(given_id__contains=CANARY).exists()

    def test_goes_from_the_spool_only_once_the_drain_has_stored_it(
        self, api: Api, model: Model, home: Path
    ) -> None:
        log(model, customers(DAY, 3))
        writer = SpoolWriter(home, "serving")
        writer.append([encode_record(spool_batch(model))], sync=False)
        receipt = erase(api)

        services.resume_erasure(receipt["id"])
        waiting = api.get(f"/erasures/{receipt['id']}").json()
        drain_once(home)
        done = go_on_until_done(api, receipt)

        assert (waiting["state"], waiting["waiting_for"]) == ("waiting", "the drain of the spool")
        assert done["counts"]["predictions"] == 1
        assert places_of(CANARY, home) == set()
        writer.append([encode_record(replace(spool_batch(model), ids=["next"]))], sync=False)
        stored, read = drain_once(home)
        assert (stored, read > 0) == (1, True)  # the writer and the drain go on where they were

    def test_waits_for_word_from_serving_hosts_and_for_their_spools(
        self, api: Api, model: Model, home: Path
    ) -> None:
        log(model, customers(DAY, 3))
        host, _ = add_host(name="serving-2", actor="test")
        receipt = erase(api)

        def waits_for() -> str:
            services.resume_erasure(receipt["id"])
            return str(api.get(f"/erasures/{receipt['id']}").json()["waiting_for"])

        before = waits_for()
        ends = {"main-of-the-host": (1, 100)}
        counts = all_counts(counts_to_send(home))
        status = HostStatus(
            instance="a", generation=1, failure="", spool_ends=ends, processes=[], counts=counts
        )
        later = now() + spool.HOST_SETTLED_AFTER
        record_status(host=host, status=status, home=home, now=later)
        with_rows = waits_for()
        SpoolCursor.objects.create(name="main-of-the-host", segment=1, offset=100)
        done = go_on_until_done(api, receipt)

        assert before == "word from serving host serving-2; if it will not come back, revoke it"
        assert (
            with_rows
            == "the drain of serving host serving-2: start it, or revoke it if it will not come back"
        )
        assert done["state"] == "done"

    def test_is_found_in_what_is_sealed_and_waits_for_a_key_that_is_missing(
        self, api: Api, model: Model, home: Path, settings: Any
    ) -> None:
        settings.ENCRYPT_LOG, master = True, key_of_home(home, "log_key")
        log(model, [*customers(DAY, 3), *of_canary(DAY, "a")])
        jobs = JobStore(home, sync=False, keep_seconds=3600, seals=True)
        jobs.add(a_job(project_id=model.project_id), CANARY.encode())
        (home / KEY_FILE).write_text("another")
        receipt = erase(api)

        services.resume_erasure(receipt["id"])
        waiting = api.get(f"/erasures/{receipt['id']}").json()
        (home / KEY_FILE).write_text(master)
        done = go_on_until_done(api, receipt)

        assert waiting["waiting_for"] == "the key of a job of asynchronous inference"
        assert (done["counts"]["predictions"], done["counts"]["jobs"], jobs.waiting()) == (1, 1, [])
        chunk = PredictionChunk.objects.get()
        assert (chunk.rows, is_sealed(chunk.payload)) == (3, True)


class TestAsking:
    def test_twice_while_it_is_being_done_gives_the_same_receipt(self, api: Api, model: Model) -> None:
        first, second = erase(api), erase(api)
        go_on_until_done(api, first)
        third = erase(api)

        assert second["id"] == first["id"]
        assert third["id"] != first["id"]
        assert third["key_hash"] == first["key_hash"]

    def test_for_a_key_that_nobody_has_ends_with_nothing_erased(self, api: Api, model: Model) -> None:
        log(model, customers(DAY, 6))

        assert go_on_until_done(api, erase(api, "nobody/at%all?"))["counts"] == {}
        assert PredictionRow.objects.count() == 6

    @pytest.mark.parametrize("key", ["x" * 201, "a\u202eb"])
    def test_for_what_cannot_be_a_key_is_refused(self, api: Api, model: Model, key: str) -> None:
        answer = api.send("DELETE", f"/subjects/{quote(key, safe='')}")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_subject")
        assert not Erasure.objects.exists()

    def test_leaves_another_projects_rows_of_the_same_key(self, api: Api, model: Model) -> None:
        theirs = make_model(Project.objects.create(slug="other", name="Other"))
        for one in (model, theirs):
            log(one, of_canary(DAY, "a"))

        go_on_until_done(api, erase(api))

        assert list(PredictionRow.objects.values_list("model", flat=True)) == [theirs.pk]


class TestTakingNobodyForTheSubject:
    """A subject may have the name of a product, a class or a place."""

    def test_a_category_that_only_has_the_same_name_stays(self, api: Api, model: Model) -> None:
        for day in (DAY, NEXT_DAY):
            log(model, [replace(row, subject=None) for row in customers(day, 30)])
        log(
            model,
            [replace(row, id="1", subject="ada", features={"customer": "bob"}) for row in customers(DAY, 1)],
        )
        give_reference(model)
        work(model)

        done = go_on_until_done(api, erase(api, "ada"))
        work(model)

        assert done["counts"] == {"predictions": 1}
        assert MetricPoint.objects.filter(model=model, segment="customer:ada").exists()
        assert Dataset.objects.get().rows == 122
        assert len(frame_of(model=model, start=DAY, end=DAY + timedelta(days=2))) == 60

    def test_a_class_of_that_name_stays_in_the_summaries(self, api: Api, model: Model) -> None:
        log(model, [replace(row, subject="1") for row in customers(DAY, 6)])
        log(model, [replace(row, id=f"{row.id}b") for row in customers(DAY, 6)])
        work(model)

        go_on_until_done(api, erase(api, "1"))

        payload = Summary.objects.get(span="day", segment="").payload
        prediction = WindowSummary.decode(bytes(payload)).prediction
        assert isinstance(prediction, CategoricalSummary)
        assert prediction.counts["1"] > 0
        assert prediction.rest == 0


class TestWhereTheModelDoesNotKeepTheKey:
    """A reference holds what was uploaded, also where the log has a hash of it, or nothing."""

    @pytest.mark.parametrize("policy", ["hash", "drop"])
    def test_the_subject_goes_from_references_all_the_same(
        self, api: Api, model: Model, home: Path, policy: str
    ) -> None:
        update_model(model=model, actor="test", privacy={"customer": policy})
        give_reference(model)
        log(model, customers(DAY))
        log(model, of_canary(DAY, "a"))
        work(model)
        [hashed] = privacy_of(model.pk).hash_values("customer", [CANARY])
        assert [place for place in places_of(CANARY, home) if place.startswith("datasets/")]
        assert bool(places_of(str(hashed), home)) == (policy == "hash")

        go_on_until_done(api, erase(api))
        work(model)

        assert places_of(CANARY, home) | places_of(str(hashed), home) == set()
        assert Dataset.objects.get().rows == 120


class TestAReferenceOfTheLog:
    def test_forgets_the_key_though_its_rows_have_expired(self, api: Api, model: Model) -> None:
        days = [DAY - back * timedelta(days=1) for back in range(14, 0, -1)]
        for day in days:
            log(model, customers(day)[:3])
            log(model, of_canary(day, f"{day:%d}"))
        while summarise(model.pk):
            pass
        version = model.versions.get()
        choice = ReferenceChoice("period", days[0], days[-1] + timedelta(days=1))
        log(model, customers(DAY)[:1])
        choose_reference(model=model, version=version, choice=choice, actor="test")
        PredictionChunk.objects.filter(model=model, day__lt=DAY.date()).delete()
        window = Period(DAY, NEXT_DAY)

        def known() -> bool:
            reference = reference_in_use(model=model, version_id=version.pk, window=window)
            assert reference is not None
            customer = reference.summary.features["customer"]
            assert isinstance(customer, CategoricalSummary)
            return CANARY in customer.counts

        assert known()

        go_on_until_done(api, erase(api))

        assert not known()


class TestDying:
    """Whoever erases may be killed after any step: another goes on, and nothing is left or taken twice."""

    @pytest.mark.parametrize("step", ["rows", "bad rows", "summaries", "tables"])
    def test_between_two_steps(
        self, api: Api, world: World, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        receipt = erase(api)
        do: Callable[..., None] = services._do

        def die_after(work_: Any, name: str, step_: Any) -> None:
            if name == step:
                step_(work_)  # its effect is there, but not that it is done
                raise KeyboardInterrupt
            do(work_, name, step_)

        monkeypatch.setattr(services, "_do", die_after)
        with pytest.raises(KeyboardInterrupt):
            services.resume_erasure(receipt["id"])
        monkeypatch.undo()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE inference_erasure SET lease_until = now() - interval '1 second'")

        done = go_on_until_done(api, receipt)

        assert done["counts"]["predictions"] == 5
        assert places_of(CANARY, world.home) == set()
        assert sum(PackedDay.objects.values_list("rows", flat=True)) == 60
        work(world.model)
        assert not [result for result in check_all() if not result.holds]


def test_a_chunk_that_is_packed_meanwhile_is_found_where_its_rows_went(
    api: Api, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(model, customers(DAY, 9))
    log(model, of_canary(DAY, "a"))
    grow_old()
    rewrite = rows._rewrite
    packed: list[bool] = []

    def pack_first(*arguments: Any) -> bool:
        if not packed:
            packed.append(True)
            pack_all()
        return rewrite(*arguments)

    monkeypatch.setattr(rows, "_rewrite", pack_first)

    done = go_on_until_done(api, erase(api))

    assert done["counts"]["predictions"] == 1
    assert [chunk.rows for chunk in PredictionChunk.objects.all()] == [9]


def test_a_short_key_is_not_taken_for_a_part_of_a_sentence(api: Api, world: World) -> None:
    go_on_until_done(api, erase(api, "ada"))

    assert Incident.objects.get().title == f"customer:{CANARY} moved"
    assert Delivery.objects.get().body != "[erased]"
    assert "ada" not in set(
        frame_of(model=world.model, start=DAY, end=DAY + timedelta(days=2)).features["customer"]
    )

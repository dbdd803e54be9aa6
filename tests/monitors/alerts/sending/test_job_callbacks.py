"""A job that asked for a callback tells it once: signed, retried like any delivery, and never at the cost of alerts."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.ids import new_id
from inference.registry.models import Model
from inference.serving.jobs.store import Job, JobStore
from inference.serving.plan import PlanCallback, load_plan
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending import channel_services, job_callbacks, outbox
from monitors.alerts.sending.job_callbacks import forget_old_callbacks, hand_over
from monitors.alerts.sending.outbox import claim_delivery
from tests.monitors.alerts.conftest import Fire
from tests.monitors.alerts.receiver import Answer, Receiver

ADA = "ada@example.com"
JSON = b"content-type: application/json\r\n"
ANSWER = b'{"model_name":"m","outputs":[{"name":"n","datatype":"UINT64","shape":[1],"data":[18446744073709551615]}]}'

End = Callable[..., Job]


@pytest.fixture
def callback(project: Project, receiver: Receiver) -> Channel:
    """A callback to the receiver, which knows its secret."""
    channel, receiver.secret = channel_services.create_channel(
        project=project, kind="callback", name="app", target=receiver.url, actor=ADA
    )
    return channel


@pytest.fixture
def end(callback: Channel, tmp_path: Path) -> End:
    """Let a job end that asked for the callback."""
    store = JobStore(tmp_path, sync=False, keep_seconds=60)

    def run(status: int = 200, body: bytes = ANSWER, fields: bytes = JSON, **changes: Any) -> Job:
        values: dict[str, Any] = {
            "id": new_id(),
            "project_id": callback.project_id,
            "model_id": 1,
            "model": "flight-delay",
            "version": "1",
            "role": "champion",
            "prediction_id": "p-1",
            "accepted_at": 1_800_000_000.25,
            "deadline_at": 1_800_003_600.0,
            "path": "/v2/models/flight-delay/infer",
            "headers": {},
            "callback": PlanCallback(callback.pk, callback.project_id, callback.name),
        }
        job = Job(**(values | changes))
        store.add(job, b"")
        claim = store.claim(job.name)
        assert claim is not None
        claim.end(status, fields, body)
        claim.release()
        return job

    return run


class TestTelling:
    def test_gives_the_job_and_its_answer_signed(
        self, end: End, tmp_path: Path, receiver: Receiver, settings: Any
    ) -> None:
        settings.PUBLIC_URL = "https://driftline.example.com"
        job = end()

        assert (hand_over(tmp_path), outbox.send_due_deliveries()) == (1, 1)

        told = receiver.verified()
        assert (told["event"], told["project"], told["schema_version"]) == (
            "job.succeeded",
            {"slug": "airport"},
            1,
        )
        assert told["answer"] == json.loads(ANSWER)
        assert b"18446744073709551615" in receiver.received[0].body
        assert told["job"]["url"] == f"https://driftline.example.com/v2/jobs/{job.id}"
        assert (told["job"]["status"], told["job"]["prediction_id"]) == (200, "p-1")
        assert told["job"]["accepted_at"].startswith("2027-01-15T08:00:00.25")
        assert receiver.received[0].headers["driftline-hop"] == "1"
        assert receiver.ids == [told["event_id"]] == [f"evt_{job.id.replace('-', '')}"]

    def test_says_that_a_job_failed_and_why(self, end: End, tmp_path: Path, receiver: Receiver) -> None:
        end(504, b'{"error":"Too late."}')

        hand_over(tmp_path)
        outbox.send_due_deliveries()

        told = receiver.verified()
        assert (told["event"], told["job"]["state"], told["answer"]) == (
            "job.failed",
            "failed",
            {"error": "Too late."},
        )

    def test_leaves_a_binary_answer_to_be_fetched(self, end: End, tmp_path: Path, receiver: Receiver) -> None:
        end(fields=b"content-type: application/octet-stream\r\n", body=b"\0\1")

        hand_over(tmp_path)
        outbox.send_due_deliveries()

        assert receiver.verified()["answer"] is None

    def test_is_tried_again_until_it_is_taken(self, end: End, tmp_path: Path, receiver: Receiver) -> None:
        receiver.answers = [Answer(503), Answer(200)]
        end()
        hand_over(tmp_path)

        for _ in range(2):
            outbox.send_due_deliveries()
            Delivery.objects.update(next_attempt_at=Now())

        assert Delivery.objects.get().state == "sent"
        assert len(set(receiver.ids)) == 1
        assert len(receiver.received) == 2


class TestHandingOver:
    def test_is_done_once_though_it_dies_before_the_file_goes(
        self, end: End, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            hand_over(tmp_path)

        assert (hand_over(tmp_path), hand_over(tmp_path)) == (1, 0)
        assert Delivery.objects.count() == 1

    def test_waits_while_the_database_is_away(
        self, end: End, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(**_: Any) -> None:
            raise OperationalError("connection refused")

        end()
        with monkeypatch.context() as patch:
            patch.setattr(job_callbacks, "write_delivery", away)
            with pytest.raises(OperationalError):
                hand_over(tmp_path)

        assert (hand_over(tmp_path), Delivery.objects.count()) == (1, 1)

    def test_goes_on_behind_a_file_that_is_damaged_and_sets_it_aside(self, end: End, tmp_path: Path) -> None:
        broken = tmp_path / "jobs" / "callbacks" / end().name
        broken.write_bytes(b"\xc1")
        end()

        assert (hand_over(tmp_path), Delivery.objects.count()) == (1, 1)

        assert [path.name for path in broken.parent.iterdir()] == [f".damaged-{broken.name}"]

    def test_goes_on_behind_one_that_cannot_be_read_or_written_and_keeps_it(
        self, end: End, tmp_path: Path
    ) -> None:
        folder = tmp_path / "jobs" / "callbacks"
        (folder / "1-0").mkdir()
        beyond_time = end(accepted_at=1e30)
        end()

        assert (hand_over(tmp_path), Delivery.objects.count()) == (1, 1)

        assert {path.name for path in folder.iterdir()} == {"1-0", beyond_time.name}

    def test_to_a_callback_that_is_gone_is_dropped(self, end: End, callback: Channel, tmp_path: Path) -> None:
        end()
        channel_services.delete_channel(channel=callback, actor=ADA)

        assert (hand_over(tmp_path), hand_over(tmp_path)) == (1, 0)
        assert not Delivery.objects.exists()

    def test_to_a_callback_that_was_renamed_finds_it(
        self, end: End, callback: Channel, tmp_path: Path
    ) -> None:
        end()
        channel_services.update_channel(channel=callback, actor=ADA, name="application")

        hand_over(tmp_path)

        assert Delivery.objects.get().channel == callback

    def test_to_a_disabled_callback_keeps_the_message_for_a_replay(
        self, end: End, callback: Channel, tmp_path: Path, receiver: Receiver
    ) -> None:
        end()
        channel_services.update_channel(channel=callback, actor=ADA, enabled=False)
        hand_over(tmp_path)
        assert outbox.send_due_deliveries() == 0
        channel_services.update_channel(channel=callback, actor=ADA, enabled=True)

        channel_services.replay(delivery=Delivery.objects.select_related("channel__project").get(), actor=ADA)
        outbox.send_due_deliveries()

        assert receiver.verified()["event"] == "job.succeeded"

    def test_never_reaches_a_channel_of_another_project(self, end: End, tmp_path: Path) -> None:
        end(project_id=Project.objects.create(slug="other", name="Other").pk)

        hand_over(tmp_path)

        assert not Delivery.objects.exists()


class TestACallback:
    @pytest.mark.parametrize(
        "target", ["http://10.0.0.1/hook", "http://127.0.0.1:1/hook", "https://[::1]/hook"]
    )
    def test_may_reach_what_a_webhook_may(self, project: Project, target: str) -> None:
        with pytest.raises(Problem) as refused:
            channel_services.create_channel(
                project=project, kind="callback", name="app", target=target, actor=ADA
            )

        assert refused.value.code == "url_not_allowed"

    def test_is_told_no_incident(self, callback: Channel, webhook: Channel, fire: Fire) -> None:
        handling.handle_transition(fire().pk)

        assert [delivery.channel for delivery in Delivery.objects.all()] == [webhook]

    def test_waits_behind_incidents(
        self, end: End, webhook: Channel, callback: Channel, fire: Fire, tmp_path: Path
    ) -> None:
        end()
        hand_over(tmp_path)
        handling.handle_transition(fire().pk)

        claimed = [claim_delivery(), claim_delivery(), claim_delivery()]

        assert [delivery and delivery.channel for delivery in claimed] == [webhook, callback, None]

    def test_that_was_told_long_ago_is_forgotten(
        self, end: End, webhook: Channel, fire: Fire, tmp_path: Path
    ) -> None:
        for _ in range(2):
            end()
        hand_over(tmp_path)
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries(limit=2)  # the incident, and one of the callbacks
        Delivery.objects.update(created_at=Now() - timedelta(days=8))

        forget_old_callbacks()

        kept = Delivery.objects.order_by("event").values_list("event", "state")
        assert list(kept) == [("incident.opened", "sent"), ("job.succeeded", "pending")]


@pytest.mark.django_db(transaction=True)
def test_the_plan_names_the_callbacks_that_there_are(
    model: Model, receiver: Receiver, settings: Any, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    app, _ = channel_services.create_channel(
        project=model.project, kind="callback", name="app", target=receiver.url, actor=ADA
    )

    def planned() -> list[PlanCallback]:
        return load_plan(tmp_path / "plan.json").callbacks

    assert planned() == [PlanCallback(app.pk, model.project_id, "app")]
    channel_services.update_channel(channel=app, actor=ADA, enabled=False)
    assert planned() == []
    channel_services.update_channel(channel=app, actor=ADA, enabled=True)
    assert [callback.name for callback in planned()] == ["app"]
    channel_services.delete_channel(channel=app, actor=ADA)
    assert planned() == []

"""How requests ended is added up exactly once, over processes, restarts and a drain that dies."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from driftline.base.accounts.models import ApiToken, Project
from driftline.base.accounts.services import create_token
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.models import RequestCount, RequestWait, SpoolCursor
from inference.prediction_log.spool.record import EndedRequests, RequestCounts, WaitedRequests, encode_record
from inference.prediction_log.spool.segments import SpoolWriter
from inference.registry.models import Model
from tests.worlds.approvals import make_model

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.fixture
def model(transactional_db: None) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))


def counts(model_id: int, **outcomes: int) -> bytes:
    ended = [EndedRequests(model_id, "1", "champion", outcome, n) for outcome, n in outcomes.items()]
    return encode_record(RequestCounts(int(HOUR.timestamp()), ended))


def waits(model_id: int, counted: list[int]) -> bytes:
    waited = [WaitedRequests(model_id, "1", "champion", counted)]
    return encode_record(RequestCounts(int(HOUR.timestamp()), [], waited))


def spool(home: Path, process: str, *payloads: bytes) -> None:
    writer = SpoolWriter(home, process)
    writer.append(payloads, sync=False)
    writer.close()


def stored() -> dict[str, int]:
    return dict(RequestCount.objects.filter(hour=HOUR).values_list("outcome", "requests"))


class TestTokenUses:
    def test_say_when_a_token_was_last_used_to_ask_models(self, model: Model, tmp_path: Path) -> None:
        """A token that only asked models looked as if nobody used it."""
        made = {
            name: create_token(project=model.project, name=name, scopes=["infer"], actor="test")[0]
            for name in ("asks", "idle", "reads")
        }
        ApiToken.objects.filter(name="reads").update(last_used_at=HOUR + timedelta(hours=1))
        uses = [
            {made["asks"].digest: HOUR.timestamp() + 60, made["reads"].digest: HOUR.timestamp()},
            {
                made["asks"].digest: HOUR.timestamp(),
                "0" * 64: HOUR.timestamp(),
            },  # another process, and a deleted one
        ]
        records = [RequestCounts(int(HOUR.timestamp()), [], [], use) for use in uses]

        spool(tmp_path, "first", *(encode_record(record) for record in records))
        drain_once(tmp_path)

        assert dict(ApiToken.objects.values_list("name", "last_used_at")) == {
            "asks": HOUR + timedelta(minutes=1), "idle": None, "reads": HOUR + timedelta(hours=1),
        }  # fmt: skip


class TestDraining:
    def test_adds_up_what_processes_and_their_successors_counted(self, model: Model, tmp_path: Path) -> None:
        spool(tmp_path, "first", counts(model.pk, answered=5, invalid=1), counts(model.pk, answered=2))
        spool(tmp_path, "second", counts(model.pk, answered=3))
        drain_once(tmp_path)
        spool(tmp_path, "first-again", counts(model.pk, answered=1, late=4))

        drain_once(tmp_path)

        assert stored() == {"answered": 11, "invalid": 1, "late": 4}

    def test_counts_once_what_was_stored_before_the_drain_died(self, model: Model, tmp_path: Path) -> None:
        spool(tmp_path, "only", counts(model.pk, answered=5))
        drain_once(tmp_path)
        spool(
            tmp_path, "only", counts(model.pk, answered=5)
        )  # its folder comes back as if it were not removed

        drain_once(tmp_path)

        assert stored() == {"answered": 5}
        assert SpoolCursor.objects.count() == 1

    def test_adds_up_how_long_requests_waited(self, model: Model, tmp_path: Path) -> None:
        spool(tmp_path, "first", waits(model.pk, [1, 2, 0]), waits(model.pk, [0, 3, 1]))
        drain_once(tmp_path)
        spool(tmp_path, "second", waits(model.pk, [5, 0, 0]), waits(model.pk + 1, [7, 7, 7]))

        drain_once(tmp_path)

        assert [(one.hour, one.version, one.counts) for one in RequestWait.objects.all()] == [
            (HOUR, "1", [6, 5, 1])
        ]

    def test_takes_what_was_spooled_before_waits_were_counted(self, model: Model, tmp_path: Path) -> None:
        ended = [[model.pk, "1", "champion", "answered", 4]]
        spool(tmp_path, "old", msgspec.msgpack.encode({"hour_s": int(HOUR.timestamp()), "ended": ended}))

        drain_once(tmp_path)

        assert stored() == {"answered": 4}
        assert not RequestWait.objects.exists()

    def test_lets_go_of_a_model_that_is_gone(self, model: Model, tmp_path: Path) -> None:
        spool(tmp_path, "only", counts(model.pk + 1, answered=5), counts(model.pk, answered=1))

        drain_once(tmp_path)

        assert stored() == {"answered": 1}

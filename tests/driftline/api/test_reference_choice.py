"""What windows are compared with is chosen over HTTP, and every choice that is none is refused with its place."""

from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from monitors.definitions.models import Reference
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.shape import assert_problem
from tests.worlds.approvals import DAY, log, rows_of_a_day

PATH = "/models/flights/reference"


@pytest.fixture
def answering(flights: Model) -> Model:
    log(flights, rows_of_a_day(DAY, 3))
    return flights


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"kind": "trailing"}, {"kind": "trailing", "days": 28, "gap_days": 7}),
        ({"kind": "trailing", "days": 60, "gap_days": 0}, {"days": 60, "gap_days": 0}),
        ({"kind": "same_hours"}, {"kind": "same_hours", "weeks": 16}),
        (
            {"kind": "period", "from": "2025-12-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
            {"kind": "period", "from": "2025-12-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        ),
    ],
)
def test_a_choice_is_told_and_kept(api: Api, answering: Model, sent: Any, told: Any) -> None:
    answer = api.post(PATH, sent)

    assert answer.status_code == 201, answer.content
    for body in (answer.json(), api.get(PATH).json()):
        assert told.items() <= body.items()
        assert (body["is_active"], body["state"], body["version"], body["rows"]) == (True, "ready", "1", None)


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"kind": "yesterday"}, "/kind"),
        ({"kind": "trailing", "days": 13}, "/days"),
        ({"kind": "trailing", "days": 2**40}, "/days"),
        ({"kind": "trailing", "gap_days": -1}, "/gap_days"),
        ({"kind": "trailing", "weeks": 4}, "/weeks"),
        ({"kind": "same_hours", "days": 28}, "/days"),
        ({"kind": "same_hours", "weeks": 53}, "/weeks"),
        ({"kind": "file", "gap_days": 1}, "/gap_days"),
        ({"kind": "trailing", "from": "2025-12-01T00:00:00Z"}, "/from"),
        ({"kind": "period", "from": "2025-12-01T00:00:00Z"}, "/to"),
        ({"kind": "period", "from": "2025-12-01T01:00:00Z", "to": "2025-12-09T00:00:00Z"}, "/from"),
        ({"kind": "period", "from": "2025-12-09T00:00:00Z", "to": "2025-12-09T00:00:00Z"}, "/to"),
        ({"kind": "period", "from": "2023-01-01T00:00:00Z", "to": "2025-12-09T00:00:00Z"}, "/from"),
        ({"kind": "period", "from": "2025-12-01T00:00:00Z", "to": "2025-12-14T00:00:00Z"}, "/from"),
        ({"kind": "period", "from": "2025-12-09T00:00:00Z", "to": "2999-01-01T00:00:00Z"}, "/to"),
        ({"kind": "period", "from": "2025-12-09", "to": "2025-12-10T00:00:00Z"}, "/from"),
        ({"kind": "trailing", "length": 28}, "/length"),
        ({"kind": "trailing", "days": "28"}, "/days"),
        ({}, "/kind"),
    ],
)
def test_what_is_no_choice_is_refused_with_its_place(
    api: Api, answering: Model, sent: Any, place: str
) -> None:
    problem = assert_problem(api.post(PATH, sent), 422)

    assert [fault["pointer"] for fault in problem["errors"]] == [place]
    assert not Reference.objects.exists()


def test_a_file_is_chosen_only_where_there_is_one(api: Api, answering: Model) -> None:
    assert_problem(api.post(PATH, {"kind": "file"}), 409, "no_reference")


def test_a_version_that_does_not_exist_is_not_found(api: Api, answering: Model) -> None:
    assert_problem(api.post(PATH, {"kind": "trailing", "version": "9"}), 404, "version_not_found")


def test_a_model_without_any_version_has_nothing_to_compare(api: Api, flights: Model) -> None:
    assert_problem(api.post(PATH, {"kind": "trailing"}), 404, "version_not_found")


def test_a_stranger_finds_no_model(stranger: Api, answering: Model) -> None:
    assert_problem(stranger.post(PATH, {"kind": "trailing"}), 404, "model_not_found")

    assert not Reference.objects.exists()
    assert not AuditEntry.objects.filter(action="reference.choose").exists()


def test_a_reader_may_not_choose(answering: Model) -> None:
    assert_problem(caller("ours", "read").post(PATH, {"kind": "trailing"}), 403)


def test_a_period_ends_before_today_by_the_events_own_clock(api: Api, answering: Model) -> None:
    later = {"from": rfc3339(DAY - timedelta(days=2)), "to": rfc3339(DAY + timedelta(days=1))}

    assert_problem(api.post(PATH, {"kind": "period", **later}), 422)

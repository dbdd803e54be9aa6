"""Summaries over HTTP: a job asks for the layout, sends a batch, and may send it again."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from inference.registry.models import Model
from monitors.summaries.models import Summary
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work


@pytest.fixture
def approvals(api: Any) -> Model:
    """A model that logs a day of rows."""
    model = make_model(api.project)
    give_reference(model)
    log(model, rows_of_a_day(DAY, 240))
    work(model)
    return model


def windows(model: Model) -> list[dict[str, Any]]:
    stored = Summary.objects.filter(model=model, span="hour").order_by("start", "segment")
    return [
        {
            "version": "1",
            "role": one.role,
            "hour": one.start.isoformat(),
            "segment": one.segment,
            "summary": base64.b64encode(bytes(one.payload)).decode(),
        }
        for one in stored
    ]


@pytest.mark.slow
def test_a_job_asks_for_the_layout(api: Any, approvals: Model) -> None:
    answer = api.post("/models/approvals/summaries/layout", {"version": "1"})

    found = answer.json()
    assert answer.status_code == 200
    assert [(one["name"], one["is_number"]) for one in found["features"]] == [
        ("income", True),
        ("region", False),
    ]
    assert (found["task"], found["positive_class"], found["missing"]) == ("binary", "1", [])


@pytest.mark.slow
def test_a_batch_is_added_once(api: Any, approvals: Model) -> None:
    body = {"batch": "2026-01-05", "windows": windows(approvals)}

    first = api.send("PUT", "/models/approvals/summaries", body)
    again = api.send("PUT", "/models/approvals/summaries", body)

    assert (first.status_code, first.json()["is_new"], first.json()["rows"]) == (200, True, 240)
    assert (again.status_code, again.json()["is_new"]) == (200, False)
    day = Summary.objects.get(model=approvals, span="day", start=DAY, segment="")
    assert day.rows == 480  # those that were logged, and the batch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"summary": "no base64!"}, "/windows/0/summary"),
        ({"summary": ""}, "/windows/0/summary"),
        ({"version": "9"}, "/windows/0/version"),
        ({"hour": "yesterday"}, "/windows/0/hour"),
        ({"hour": (DAY + timedelta(seconds=1)).isoformat()}, "/windows/0/hour"),
        ({"role": "king"}, "/windows/0/role"),
        ({"colour": "red"}, "/windows/0/colour"),
    ],
)
def test_a_wrong_window_is_named(api: Any, approvals: Model, change: dict[str, Any], pointer: str) -> None:
    first, *others = windows(approvals)

    answer = api.send(
        "PUT", "/models/approvals/summaries", {"batch": "b", "windows": [first | change, *others]}
    )

    assert answer.status_code == 422
    assert pointer in {one["pointer"] for one in answer.json()["errors"]}


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["", "a b", "ü", "x" * 201])
def test_a_name_that_is_none_is_refused(api: Any, approvals: Model, batch: str) -> None:
    answer = api.send("PUT", "/models/approvals/summaries", {"batch": batch, "windows": windows(approvals)})

    assert answer.status_code == 422


@pytest.mark.slow
def test_a_batch_may_be_larger_than_other_bodies(api: Any, approvals: Model) -> None:
    first, *_ = windows(approvals)

    answer = api.send(
        "PUT",
        "/models/approvals/summaries",
        {"batch": "b", "windows": [first | {"summary": "AAAA" * (1 << 19)}]},
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_summary")


@pytest.mark.slow
def test_a_stranger_finds_no_model(stranger: Any, approvals: Model) -> None:
    layout = stranger.post("/models/approvals/summaries/layout", {"version": "1"})
    batch = stranger.send("PUT", "/models/approvals/summaries", {"batch": "b", "windows": windows(approvals)})

    assert (layout.status_code, batch.status_code) == (404, 404)

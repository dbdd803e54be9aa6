"""Whoever logs too much, or while commits stand still, is told when to come again."""

from typing import Any

import pytest
from django.conf import LazySettings

from inference.prediction_log import api as log_api
from inference.prediction_log.ingest import store
from inference.prediction_log.ingest.row_budget import RowBudget
from inference.registry.models import Model
from tests.driftline.api.conftest import Api

PATH = "/models/flights/predictions"


def batch(*ids: str) -> dict[str, Any]:
    item = {"timestamp": "2026-11-01T00:00:00Z", "version": "1", "features": {"a": 1}, "prediction": 1}
    return {"predictions": [{"id": id_, **item} for id_ in ids]}


def test_a_project_beyond_its_rows_a_second_is_answered_429(
    api: Api, flights: Model, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOG_ROWS_PER_SECOND = 1
    monkeypatch.setattr(log_api, "row_budget", RowBudget(lambda: settings.LOG_ROWS_PER_SECOND, lambda: 0.0))

    taken = api.post(PATH, batch(*map(str, range(15))))
    refused = api.post(PATH, batch("late"))
    label = api.post("/models/flights/labels", {"labels": [{"id": "0", "label": "1"}]})

    assert (taken.status_code, taken.json()["accepted"]) == (200, 15)
    for answer in (refused, label):
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["Retry-After"] == "5"
    assert api.get(f"{PATH}/late").status_code == 404


@pytest.mark.slow
def test_while_commits_stand_still_the_answer_is_503(
    api: Api, flights: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_WAIT_SECONDS", -1.0)  # none waits: that is longer

    answer = api.post(PATH, batch("a"))

    assert (answer.status_code, answer.json()["code"]) == (503, "log_behind")
    assert "Retry-After" in answer.headers
    assert api.get(f"{PATH}/a").status_code == 404

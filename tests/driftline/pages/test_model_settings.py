"""A model's settings: days, policies of features, and a confirmation before anything is lost."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.accounts.models import AuditEntry, Membership, User
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.selectors import frame_of
from inference.registry.models import Model
from tests.markup import markup
from tests.worlds.approvals import DAY, log, rows_of_a_day, work


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/settings"


@pytest.fixture
def logged(model: Model) -> Model:
    log(model, rows_of_a_day(DAY, 5))
    work(model)
    return model


def test_says_what_to_do_before_any_feature_is_known(client: Client, path: str) -> None:
    page = markup(client.get(path))

    assert "No feature is known yet" in page
    assert "Empty: 400 days, as the server says" in page
    assert "Empty: for ever, as the server says" in page


def test_keeps_rows_for_fewer_days_only_after_a_confirmation(
    client: Client, logged: Model, path: str
) -> None:
    sent = {
        "retention_days": "30",
        "summary_retention_days": "",
        "feature_0": "keep",
        "feature_1": "keep",
    }

    refused = client.post(path, sent)
    taken = client.post(path, sent | {"sure": "on"}, follow=True)

    assert refused.status_code == 422
    assert "lets go of data" in markup(refused)
    assert "The settings hold from now on" in markup(taken)
    logged.refresh_from_db()
    assert (logged.retention_days, logged.summary_retention_days) == (30, None)
    assert AuditEntry.objects.get(action="model.update").after == {"retention_days": 30}


def test_hashes_a_text_and_offers_no_hash_for_a_number(
    client: Client, logged: Model, path: str, django_capture_on_commit_callbacks: Any
) -> None:
    shown = markup(client.get(path))
    income, region = shown.split('name="feature_0"')[1].split('name="feature_1"')
    assert 'value="hash"' not in income
    assert 'value="hash"' in region

    with django_capture_on_commit_callbacks(execute=True):
        client.post(path, {"feature_0": "drop", "feature_1": "hash", "sure": "on"})
    log(logged, [row for row in rows_of_a_day(DAY, 6) if row.id.endswith("-5")])

    logged.refresh_from_db()
    assert logged.privacy == {"income": "drop", "region": "hash"}
    newest = bytes(PredictionChunk.objects.latest("pk").payload)
    assert b"f:income" not in newest
    assert b"hmac:" in newest


def test_lets_values_of_a_number_go_once_they_are_summarised(
    client: Client, logged: Model, path: str
) -> None:
    client.post(path, {"feature_0": "summary", "feature_1": "keep", "sure": "on"})
    work(logged)

    [dropped] = frame_of(model=logged, start=DAY, end=DAY + timedelta(days=1)).dropped
    assert dropped == "income"


def test_longer_days_and_a_policy_taken_back_need_no_confirmation(
    client: Client, logged: Model, path: str
) -> None:
    client.post(path, {"retention_days": "30", "feature_0": "drop", "feature_1": "keep", "sure": "on"})

    answer = client.post(path, {"retention_days": "0", "feature_0": "keep", "feature_1": "keep"})

    assert answer.status_code == 302
    logged.refresh_from_db()
    assert (logged.retention_days, logged.privacy) == (0, {})


def test_a_viewer_looks_and_changes_nothing(model: Model, path: str) -> None:
    user = User.objects.create_user("viewer@bank.example")
    Membership.objects.create(project=model.project, user=user, role="viewer")
    viewer = Client()
    viewer.force_login(user)

    page = markup(viewer.get(path))

    assert "Only admins of this project change this" in page
    assert "<button>Save</button>" not in page
    assert viewer.post(path, {"retention_days": "1", "sure": "on"}).status_code == 403

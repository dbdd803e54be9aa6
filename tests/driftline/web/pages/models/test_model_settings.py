"""A model's settings: days, policies of features, and a confirmation before anything is lost."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Membership, Role, User
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.selectors import frame_of
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, work

pytestmark = pytest.mark.slow


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


def shown_by(answer: Any) -> dict[str, str]:
    """Return what a page asks to be confirmed, as its form sends it back."""
    return {"shown": re.findall(r'name="shown" value="([^"]*)"', answer.content.decode())[0], "sure": "on"}


class TestFewerDays:
    FORM = {
        "rows_kept": "all",
        "retention_days": "30",
        "summary_retention_days": "",
        "feature_0": "keep",
        "feature_1": "keep",
    }

    @pytest.fixture
    def two_months(self, logged: Model) -> Model:
        log(logged, rows_of_a_day(DAY + timedelta(days=60), 5))
        work(logged)
        return logged

    def test_are_kept_after_a_confirmation_of_what_they_delete(
        self, client: Client, two_months: Model, path: str
    ) -> None:
        refused = client.post(path, self.FORM)
        taken = client.post(path, self.FORM | shown_by(refused), follow=True)

        assert refused.status_code == 422
        page = markup(refused)
        assert re.search(
            r"This deletes [\d.]+ KB: 5 rows of 1 day, from before 2026-02-04, all of them once", page
        )
        assert "The settings are saved" in markup(taken)
        two_months.refresh_from_db()
        assert (two_months.retention_days, two_months.summary_retention_days) == (30, None)
        assert AuditEntry.objects.get(action="model.update").after == {"retention_days": 30}

    def test_stand_in_their_field_while_they_are_asked_about(
        self, client: Client, two_months: Model, path: str
    ) -> None:
        asked = client.post(path, self.FORM)

        assert re.search(r'name="retention_days" value="30"', asked.content.decode())

    def test_are_not_taken_by_a_tick_for_other_days(
        self, client: Client, two_months: Model, path: str
    ) -> None:
        asked = shown_by(client.post(path, self.FORM | {"retention_days": "90"}))

        answer = client.post(path, self.FORM | asked)

        assert answer.status_code == 422
        assert "5 rows of 1 day" in markup(answer)
        assert not re.search(r'name="sure"[^>]*checked', answer.content.decode())
        two_months.refresh_from_db()
        assert two_months.retention_days is None

    def test_are_confirmed_where_nothing_is_old_enough_too(
        self, client: Client, logged: Model, path: str
    ) -> None:
        page = markup(client.post(path, self.FORM))

        assert "Nothing that is stored is old enough to be deleted now." in page

    def test_are_not_asked_about_on_a_page_that_is_only_looked_at(self, client: Client, path: str) -> None:
        assert 'name="sure"' not in client.get(path).content.decode()


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


def test_a_value_is_not_dropped_before_that_is_confirmed(client: Client, logged: Model, path: str) -> None:
    answer = client.post(path, {"feature_0": "drop", "feature_1": "keep"})

    assert answer.status_code == 422
    assert "This deletes data, or stops keeping it; confirm it." in markup(answer)
    logged.refresh_from_db()
    assert logged.privacy == {}


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
    form = {"retention_days": "30", "feature_0": "drop", "feature_1": "keep"}
    client.post(path, form | shown_by(client.post(path, form)))

    answer = client.post(path, {"retention_days": "0", "feature_0": "keep", "feature_1": "keep"})

    assert answer.status_code == 302
    logged.refresh_from_db()
    assert (logged.retention_days, logged.privacy) == (0, {})


def test_a_viewer_looks_and_changes_nothing(model: Model, path: str) -> None:
    viewer = viewer_of(model.project)

    page = markup(viewer.get(path))

    assert "Only admins of this project change this" in page
    assert "<button>Save</button>" not in page
    assert viewer.post(path, {"retention_days": "1", "sure": "on"}).status_code == 403


class TestAbout:
    def test_is_changed_with_a_trace_of_what_changed_alone(
        self, client: Client, model: Model, path: str
    ) -> None:
        form = {"description": "Who pays back?", "owner": " risk ", "tags": "eu, credit eu"}

        page = markup(client.post(path, form, follow=True))

        model.refresh_from_db()
        assert "The settings are saved" in page
        assert (model.description, model.owner, model.tags) == ("Who pays back?", "risk", ["credit", "eu"])
        entry = AuditEntry.objects.get(action="model.update")
        assert entry.after == {"description": "Who pays back?", "owner": "risk", "tags": ["credit", "eu"]}

    def test_says_which_tag_cannot_be_one(self, client: Client, model: Model, path: str) -> None:
        answer = client.post(path, {"tags": "credit! eu", "owner": "risk"})

        assert answer.status_code == 422
        assert "&#x27;credit!&#x27; is not a tag" in markup(answer)
        model.refresh_from_db()
        assert (model.owner, model.tags) == ("", [])

    def test_changes_the_task_until_the_first_version_is_there(
        self, client: Client, logged: Model, path: str
    ) -> None:
        empty = create_model(project=logged.project, name="empty", task="binary", actor="test")

        client.post("/models/empty/settings", {"task": "regression"})
        client.post(path, {"task": "regression"})

        for model in (empty, logged):
            model.refresh_from_db()
        assert (empty.task, logged.task) == ("regression", "binary")

    def test_leaves_what_is_not_sent_as_it_is(self, client: Client, model: Model, path: str) -> None:
        client.post(path, {"description": "d", "tags": "eu", "label_lag_hours": "24"})

        client.post(path, {"owner": "risk"})

        model.refresh_from_db()
        assert (model.description, model.tags, model.owner) == ("d", ["eu"], "risk")
        assert model.objectives == {"label_lag_hours": 24}


class TestObjectives:
    def test_are_stored_together(self, client: Client, model: Model, path: str) -> None:
        client.post(path, {"label_lag_hours": "48", "quality_metric": "accuracy", "quality_floor": "0.8"})
        client.post(path, {"label_lag_hours": "", "latency_p99_ms": "50"})

        model.refresh_from_db()
        assert model.objectives == {"quality": {"metric": "accuracy", "floor": 0.8}, "latency_p99_ms": 50}

    def test_need_a_metric_with_its_limit(self, client: Client, path: str) -> None:
        answer = client.post(path, {"quality_metric": "accuracy"})

        assert answer.status_code == 422
        assert "Name both, the metric and its limit" in markup(answer)


def test_an_editor_describes_a_model_and_is_offered_no_more(model: Model, path: str) -> None:
    editor = PagesClient()
    user = User.objects.create_user("editor@bank.example")
    Membership.objects.create(project=model.project, user=user, role=Role.EDITOR)
    editor.force_login(user)

    page = editor.get(path).content.decode()
    taken = editor.post(path, {"description": "d"})
    refused = editor.post(path, {"description": "e", "label_lag_hours": "3"})

    assert re.search(r'name="description"[^>]*>', page)
    assert "disabled" in re.search(r'<input[^>]*name="label_lag_hours"[^>]*>', page)[0]  # type: ignore[index]
    assert "disabled" not in re.search(r'<input type="text" name="owner"[^>]*>', page)[0]  # type: ignore[index]
    assert (taken.status_code, refused.status_code) == (302, 403)
    model.refresh_from_db()
    assert (model.description, model.objectives) == ("d", {"label_lag_hours": 0})


class TestPositiveClass:
    def test_of_a_version_that_is_only_logged_is_changed(
        self, client: Client, model: Model, path: str
    ) -> None:
        give_reference(model)
        offered = re.search(
            r'<select name="positive_class".*?</select>', client.get(path).content.decode(), re.DOTALL
        )

        client.post(path, {"positive_class": "0"})

        assert re.findall(r'value="(\w)"', offered[0]) == ["0", "1"]  # type: ignore[index]
        assert model.versions.get().signature["positive_class"] == "0"

    def test_of_a_version_that_is_served_is_what_it_declared(
        self, client: Client, model: Model, path: str
    ) -> None:
        give_reference(model)
        model.versions.update(sha256="a" * 64)

        client.post(path, {"positive_class": "0"})

        assert model.versions.get().signature["positive_class"] == "1"

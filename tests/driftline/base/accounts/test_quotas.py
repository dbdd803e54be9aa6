"""Quotas that an operator sets for a project: how many models it has, and how many rows a second it logs."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.quotas import set_quotas
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.base.http import rate_budget
from driftline.base.http.rate_budget import Budget, TokenBudget
from driftline.operations.capacity.project_sizes import stored_bytes_of
from driftline.tasks import measure_stored_bytes
from inference.prediction_log.models import PredictionChunk
from inference.registry.models import Model
from inference.registry.plan.publishing import PLAN_FILE, publish
from inference.registry.services import archive_model, create_model
from inference.serving.plan import load_plan
from monitors.summaries.models import Summary
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.uploads import METADATA, form, onnx_file
from tests.pages_client import PagesClient

pytestmark = pytest.mark.django_db

UPLOAD = form(file=onnx_file(remark="1"), metadata=orjson.dumps(METADATA), lineage=b'{"trainer":"by hand"}')


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def fresh_budgets() -> Iterator[None]:
    """Numbers of projects come again in tests, and budgets are by them."""
    rate_budget._quotas.clear()
    yield
    rate_budget._quotas.clear()


@pytest.fixture
def api() -> Api:
    return caller("ours")


def model_of(project: Project, name: str) -> Model:
    return create_model(project=project, name=name, task="binary", actor="test")


def batch(*ids: str) -> dict[str, Any]:
    item = {"timestamp": "2026-11-01T00:00:00Z", "version": "1", "features": {"a": 1}, "prediction": 1}
    return {"predictions": [{"id": id_, **item} for id_ in ids]}


class TestModels:
    def test_are_refused_beyond_the_quota_with_how_many_there_are(self, api: Api) -> None:
        set_quotas(project=api.project, actor="operator", max_models=1)
        first = api.post("/models", {"name": "flights", "task": "binary"})

        refused = api.post("/models", {"name": "trains", "task": "binary"})

        assert (first.status_code, refused.status_code, refused.json()["code"]) == (201, 409, "quota_reached")
        assert refused.json()["detail"] == (
            "Ours has 1 model of a quota of 1, with archived ones; delete one, or ask an operator to raise the quota."
        )

    def test_that_are_archived_count(self, api: Api) -> None:
        archive_model(model=model_of(api.project, "flights"), is_archived=True, actor="test")
        set_quotas(project=api.project, actor="operator", max_models=1)

        with pytest.raises(Problem, match="of a quota of 1"):
            model_of(api.project, "trains")

    def test_of_another_project_do_not_count(self, api: Api) -> None:
        set_quotas(project=api.project, actor="operator", max_models=1)
        other = create_project(slug="shop", name="Shop", owner=User.objects.create_user("o@shop.example"))

        for name in ("flights", "trains"):
            model_of(other, name)
        model_of(api.project, "flights")

        assert Model.objects.count() == 3

    def test_that_are_there_stay_below_a_smaller_quota(self, api: Api) -> None:
        for name in ("flights", "trains"):
            model_of(api.project, name)

        set_quotas(project=api.project, actor="operator", max_models=1)

        assert api.project.models.count() == 2


class TestRows:
    def test_that_are_logged_beyond_the_quota_are_answered_429(self, api: Api) -> None:
        model_of(api.project, "flights")
        set_quotas(project=api.project, actor="operator", max_rows_per_second=1)

        taken = api.post("/models/flights/predictions", batch(*map(str, range(100))))
        refused = api.post("/models/flights/predictions", batch("late"))

        assert (taken.status_code, taken.json()["accepted"]) == (200, 100)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_reached")
        assert "a quota of 1 rows a second through each serving process" in refused.json()["detail"]
        assert int(refused.headers["Retry-After"]) > 60
        assert api.get("/models/flights/predictions/late").status_code == 404

    def test_of_another_project_are_taken(self, api: Api) -> None:
        model_of(api.project, "flights")
        set_quotas(project=api.project, actor="operator", max_rows_per_second=1)
        other = caller("theirs")
        model_of(other.project, "flights")
        api.post("/models/flights/predictions", batch(*map(str, range(100))))

        assert other.post("/models/flights/predictions", batch("a")).status_code == 200

    def test_a_higher_quota_counts_at_once(self, api: Api) -> None:
        model_of(api.project, "flights")
        set_quotas(project=api.project, actor="operator", max_rows_per_second=1)
        api.post("/models/flights/predictions", batch(*map(str, range(100))))

        set_quotas(project=api.project, actor="operator", max_rows_per_second=1_000)

        assert api.post("/models/flights/predictions", batch("late")).status_code == 200

    def test_a_quota_is_in_the_plan_of_serving_processes(self, api: Api, home: Path) -> None:
        publish()
        before = load_plan(home / PLAN_FILE).row_quotas
        set_quotas(project=api.project, actor="operator", max_rows_per_second=50)
        publish()

        assert (before, load_plan(home / PLAN_FILE).row_quotas) == ({}, {api.project.pk: 50})

    def test_all_tokens_of_a_project_share_its_quota(self) -> None:
        quota = Budget(10, clock=lambda: 0.0)
        one, other = (TokenBudget(0, 0, clock=lambda: 0.0, quota=quota) for _ in range(2))

        one.charge_rows(150)

        assert (one.take_request(), other.take_request()) == (5.0, 5.0)
        assert "This project has a quota of 10 rows a second" in other.sentence

    def test_a_token_that_reached_its_own_limit_says_that(self) -> None:
        token = TokenBudget(0, 5, clock=lambda: 0.0, quota=Budget(1_000, clock=lambda: 0.0))

        token.charge_rows(100)

        assert token.take_request() == 10.0
        assert token.sentence == "This token may send 5 rows a second to each serving process"


class TestStorage:
    @pytest.fixture
    def full(self, api: Api) -> Api:
        """A project with a logged row, which is more than its quota of a byte."""
        model_of(api.project, "flights")
        api.post("/models/flights/predictions", batch("a"))
        set_quotas(project=api.project, actor="operator", max_bytes=1)
        measure_stored_bytes()
        return api

    def test_is_measured_where_there_is_a_quota(self, full: Api) -> None:
        other = caller("theirs")

        measure_stored_bytes()

        stored = dict(Project.objects.values_list("slug", "stored_bytes"))
        assert stored["theirs"] is None
        assert stored["ours"] == stored_bytes_of([full.project.pk])[full.project.pk] > 1
        assert stored_bytes_of([other.project.pk])[other.project.pk] == 0

    def test_that_is_used_up_takes_no_row_label_file_or_version(self, full: Api) -> None:
        answers = [
            full.post("/models/flights/predictions", batch("late")),
            full.post("/models/flights/labels", {"labels": [{"id": "a", "label": "1"}]}),
            full.post("/models/flights/versions", UPLOAD, content_type="multipart/form-data; boundary=x"),
            full.send(
                "POST", "/models/flights/imports/predictions", b"id,label\na,1\n", content_type="text/csv"
            ),
        ]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
            (429, "quota_reached")
        ] * 4
        sentence = answers[0].json()["detail"]
        assert sentence.startswith("Ours holds ")
        assert "of a quota of 1 byte, measured every ten minutes; keep rows for fewer days" in sentence

    def test_that_is_used_up_is_in_the_plan_of_serving_processes(self, full: Api, home: Path) -> None:
        publish()
        while_full = load_plan(home / PLAN_FILE).full_projects
        set_quotas(project=full.project, actor="operator", max_bytes=10**9)
        publish()

        assert list(while_full) == [full.project.pk]
        assert while_full[full.project.pk].startswith("Ours holds ")
        assert load_plan(home / PLAN_FILE).full_projects == {}

    def test_takes_rows_again_once_the_quota_is_higher_or_less_is_held(self, full: Api) -> None:
        set_quotas(project=full.project, actor="operator", max_bytes=10**9)
        by_quota = full.post("/models/flights/predictions", batch("b")).status_code
        set_quotas(project=full.project, actor="operator", max_bytes=1)
        refused = full.post("/models/flights/predictions", batch("c")).status_code
        PredictionChunk.objects.all().delete()
        Summary.objects.all().delete()
        measure_stored_bytes()

        assert (by_quota, refused) == (200, 429)
        assert full.post("/models/flights/predictions", batch("c")).status_code == 200


class TestSetting:
    def test_leaves_an_audit_row_with_the_difference_and_none_of_a_repetition(self, api: Api) -> None:
        for _ in range(2):
            set_quotas(project=api.project, actor="operator", max_models=5)

        entry = AuditEntry.objects.get(action="project.quotas")
        assert (entry.project, entry.actor) == (api.project, "operator")
        assert entry.before == {"max_models": None, "max_rows_per_second": None, "max_bytes": None}
        assert entry.after == {"max_models": 5, "max_rows_per_second": None, "max_bytes": None}

    def test_to_nothing_takes_a_quota_away(self, api: Api) -> None:
        for value in (5, 0):
            set_quotas(project=api.project, actor="operator", max_models=value)

        assert Project.objects.get().max_models is None

    def test_by_command_shows_and_changes(self, api: Api) -> None:
        shown, changed = StringIO(), StringIO()
        call_command("quota", "ours", stdout=shown)
        call_command("quota", "ours", "--max-models", "5", stdout=changed)

        assert "max_models: no limit" in shown.getvalue()
        assert "max_models: 5" in changed.getvalue()
        assert Project.objects.get().max_models == 5

    @pytest.mark.parametrize("value", [-1, 1_000_000_001])
    def test_refuses_what_is_no_quota(self, api: Api, value: int) -> None:
        with pytest.raises(CommandError, match="use a number from 1 to 1,000,000,000, or 0 for no limit"):
            call_command("quota", "ours", f"--max-models={value}")

    def test_by_command_of_an_unknown_project_lists_the_known_ones(self, api: Api) -> None:
        with pytest.raises(CommandError, match="the projects are: ours"):
            call_command("quota", "yours")

    def test_in_the_admin_is_audited(self, api: Api) -> None:
        operator = Client()
        operator.force_login(User.objects.create_superuser("operator@bank.example"))
        form = {
            "slug": "ours",
            "name": "Ours",
            "isolation": "none",
            "max_models": "3",
            "max_rows_per_second": "",
        }

        answer = operator.post(reverse("admin:accounts_project_change", args=[api.project.pk]), form)

        assert (answer.status_code, Project.objects.get().max_models) == (302, 3)
        entry = AuditEntry.objects.get(action="project.quotas")
        assert (entry.actor, entry.after["max_models"]) == ("operator@bank.example", 3)

    def test_is_shown_with_the_use_on_the_page_of_the_project_and_in_the_api(self, api: Api) -> None:
        model_of(api.project, "flights")
        set_quotas(project=api.project, actor="operator", max_models=5, max_rows_per_second=2_000)
        browser = PagesClient()
        browser.force_login(User.objects.get(email="owner@ours.example"))

        shown = " ".join(browser.get("/settings/project").content.decode().split())
        one = api.get("/projects/ours").json()

        assert "1 of a quota of 5, with archived ones" in shown
        assert "a quota of 2,000 a second through each serving process" in shown
        assert (one["max_models"], one["max_rows_per_second"]) == (5, 2_000)

    def test_is_not_for_admins_of_the_project(self, api: Api) -> None:
        answer = api.send("PATCH", "/projects/ours", {"max_models": 100})

        assert (answer.status_code, Project.objects.get().max_models) == (422, None)

"""The page of a model's workflow: its trainer's own fields, what starts runs, the gate in words, and the last runs."""

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry
from driftline.base.errors import Problem
from inference.registry.models import Model, Version
from monitors.workflows.models import Run, RunState, Step, Workflow
from monitors.workflows.services import configure_workflow
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY

pytestmark = pytest.mark.slow


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/workflow"


class TestTrainer:
    def test_has_a_field_for_each_of_its_parameters(self, client: Client, model: Model, path: str) -> None:
        page = markup(client.get(f"{path}?trainer=lightgbm"))

        assert "Leaves of a tree, at most" in page
        assert "Empty: 31." in page
        assert "saving changes that to lightgbm" in page
        assert "A training here may take 10 minutes." in page

        client.post(f"{path}?trainer=lightgbm", {"parameter_leaves": "15", "parameter_row_share": "0.5"})

        workflow = Workflow.of(model)
        assert workflow.trainer == "lightgbm"
        assert workflow.parameters == {"leaves": 15, "row_share": 0.5}
        assert 'value="15"' in client.get(path).content.decode()

    def test_goes_back_to_its_own_value_where_a_field_is_emptied(
        self, client: Client, model: Model, path: str
    ) -> None:
        client.post(path, {"parameter_trees": "200", "parameter_max_features": "0.5"})
        client.post(path, {"parameter_trees": ""})

        assert Workflow.of(model).parameters == {"max_features": 0.5}

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("parameter_trees", "0", "greater than or equal to 1"),
            ("parameter_max_features", "all", "use sqrt, log2, a number of features"),
        ],
    )
    def test_says_beside_the_field_what_it_takes(
        self, client: Client, model: Model, path: str, field: str, value: str, words: str
    ) -> None:
        answer = client.post(path, {field: value, "training_days": "30"})

        assert answer.status_code == 422
        assert words in markup(answer)
        assert not Workflow.objects.filter(model=model).exists()

    def test_of_ones_own_takes_parameters_as_lines(self, client: Client, model: Model, path: str) -> None:
        remote = {"kind": "http", "url": "https://train.example.com/hook"}
        configure_workflow(model=model, actor="ada", trainer="remote", remote=remote)

        client.post(path, {"parameters": "epochs = 20\nkind = fast"})

        assert Workflow.of(model).parameters == {"epochs": 20, "kind": "fast"}
        page = markup(client.get(path))
        assert "http at <code>https://train.example.com/hook</code>, without a secret" in page
        assert "write one as trees = 200" in markup(client.post(path, {"parameters": "epochs"}))

    def test_that_is_unknown_is_refused(self, client: Client, path: str) -> None:
        assert client.get(f"{path}?trainer=magic").status_code == 422

    def test_refuses_by_program_what_its_schema_refuses(self, model: Model) -> None:
        with pytest.raises(Problem) as refused:
            configure_workflow(model=model, actor="ada", trainer="lightgbm", parameters={"depth": 3})

        assert refused.value.errors[0].pointer == "/workflow/parameters/depth"
        assert "use some of trees, min_leaf, leaves" in refused.value.errors[0].detail


class TestGate:
    def test_is_written_in_words_and_changed_by_its_margins(
        self, client: Client, model: Model, path: str
    ) -> None:
        form = {"objective": "roc_auc", "margin_log_loss": "0.05", "margin_accuracy": "", "p99_ratio": "2"}

        client.post(path, form)

        assert Workflow.of(model).gate == {
            "objective": "roc_auc", "p99_ratio": 2, "margins": {"roc_auc": 0.01, "log_loss": 0.05},
        }  # fmt: skip
        assert sorted(AuditEntry.objects.get(action="workflow.update").after) == ["gate"]
        page = markup(client.get(path))
        assert (
            "From 2,000 labelled pairs on it is promoted where its ROC AUC is better beyond doubt, and nothing is "
            "worse: not log loss by more than 0.05." in page
        )
        assert "Its p99 latency may be 2 times the champion's, or 5 ms longer." in page.replace("&#x27;", "'")
        assert "where nothing is certain after 6,000 pairs" in page

    def test_that_is_refused_changes_nothing_else(self, client: Client, model: Model, path: str) -> None:
        answer = client.post(path, {"autonomy": "auto", "pairs": "500", "max_pairs": "10"})

        assert answer.status_code == 422
        assert "max_pairs is 10; use at least pairs, 500" in markup(answer)
        model.refresh_from_db()
        assert (model.autonomy, Workflow.objects.filter(model=model).exists()) == ("approve", False)


class TestStarts:
    def test_are_changed_and_what_would_happen_says_so(self, client: Client, model: Model, path: str) -> None:
        form = {"autonomy": "auto", "schedule": "0 3 * * 1", "schedule_zone": "Europe/Berlin"}

        page = markup(client.post(path, form | {"on_new_reference": "on"}, follow=True))

        model.refresh_from_db()
        workflow = Workflow.of(model)
        assert (model.autonomy, workflow.schedule, workflow.on_new_reference) == ("auto", "0 3 * * 1", True)
        assert "The schedule starts the next one at" in page
        assert "A new reference of the champion starts one." in page

    def test_say_how_a_schedule_is_written(self, client: Client, path: str) -> None:
        assert "is no cron expression" in markup(client.post(path, {"schedule": "weekly x y z w"}))

    def test_need_a_number_where_one_must_be(self, client: Client, path: str) -> None:
        answer = client.post(path, {"max_runs_a_day": ""})

        assert answer.status_code == 422
        assert "Enter a whole number." in markup(answer)


class TestRuns:
    def test_say_what_each_came_to_and_took(self, client: Client, model: Model, path: str) -> None:
        version = Version.objects.create(model=model, version="1")
        run = Run.objects.create(
            model=model, trigger="schedule", state=RunState.REJECTED, data_until=DAY, champion=version,
            created_at=DAY, finished_at=DAY.replace(hour=2),
        )  # fmt: skip
        Step.objects.create(
            run=run, position=1, name="train", state=Step.State.DONE, started_at=DAY,
            finished_at=DAY.replace(minute=1, second=30), evidence={"rows": 5000, "peak_memory_mb": 312.4},
        )  # fmt: skip

        page = markup(client.get(path))

        assert f"Run {run.pk}" in page
        assert "5,000" in page
        assert "312 MiB" in page

    def test_say_what_to_do_where_there_is_none(self, client: Client, path: str) -> None:
        assert "This model was never retrained here" in markup(client.get(path))


def test_a_viewer_looks_and_changes_nothing(model: Model, path: str) -> None:
    viewer = viewer_of(model.project)

    page = markup(viewer.get(path))

    assert "Only admins of this project change how a model is retrained" in page
    assert "<button>Save</button>" not in page
    assert viewer.post(path, {"pairs": "3"}).status_code == 403

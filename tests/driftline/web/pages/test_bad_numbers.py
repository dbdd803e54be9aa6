"""Numbers that are none, or that no column holds: a sentence at the field, and nothing is stored."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from inference.registry.models import Model
from monitors.rules.models import Rule
from monitors.workflows.models import Workflow
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day

pytestmark = pytest.mark.django_db

BAD = ["nan", "inf", "-1", "1e400", "many", "9" * 30]
RULE = {
    "name": "limit", "metric": "psi", "feature": "income", "span": "day", "operator": "above", "threshold": "0.2",
    "for_windows": "1", "recover_windows": "2", "min_rows": "200", "severity": "warning", "action": "notify",
    "cooldown_hours": "24", "notify_within_hours": "24",
}  # fmt: skip
SETTINGS = (
    "label_lag_hours", "latency_p99_ms", "requests_per_second", "retention_days", "summary_retention_days",
)  # fmt: skip
WORKFLOW = (
    "training_days", "min_training_rows", "max_runs_a_day", "pairs", "max_pairs", "min_segment_labelled", "p99_ratio",
    "p99_cap_ms", "parameter_trees",
)  # fmt: skip


def each_of(first: str, *others: str) -> list[tuple[str, str]]:
    """Return one field with each bad number, and each other one with what no form reads."""
    return [*((first, bad) for bad in BAD), *((field, "nan") for field in others)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def known(model: Model) -> Model:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 30))
    return model


def refused(client: Client, path: str, form: dict[str, Any], field: str) -> tuple[int, bool]:
    """The status, and whether a sentence stands at the field."""
    answer = client.post(path, form)
    page = markup(answer)
    block = page.split(f'name="{field}"')[0].rsplit('<div class="field', 1)[-1]
    after = page.split(f'name="{field}"')[-1].split('<div class="field', 1)[0]
    return answer.status_code, "error" in block + after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "bad"),
    each_of(
        "for_windows", "of_windows", "recover_windows", "min_rows", "cooldown_hours", "notify_within_hours",
        "threshold", "recovery_threshold",
    ),
)  # fmt: skip
def test_of_a_rule(client: Client, known: Model, field: str, bad: str) -> None:
    outcome = refused(client, f"/models/{known.name}/rules/new", RULE | {field: bad}, field)

    assert outcome == (422, True)
    assert not Rule.objects.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("field", "bad"), each_of(*SETTINGS, *WORKFLOW))
def test_of_the_settings_of_a_model(client: Client, known: Model, field: str, bad: str) -> None:
    before = known.objectives

    outcome = refused(
        client, f"/models/{known.name}/{'workflow' if field in WORKFLOW else 'settings'}", {field: bad}, field
    )

    assert outcome == (422, True)
    known.refresh_from_db()
    assert (known.objectives, known.retention_days) == (before, None)
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(("field", "bad"), each_of("days", "requests_per_second", "rows_per_second"))
def test_of_a_token(client: Client, known: Model, field: str, bad: str) -> None:
    form = {"do": "create", "name": "t", "scopes": "read", field: bad}

    assert refused(client, "/settings/tokens", form, field) == (422, True)

    assert not known.project.tokens.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("field", "bad"), each_of("tolerance", "least", "most", "missing_share"))
def test_of_what_is_expected(client: Client, known: Model, field: str, bad: str) -> None:
    path = reverse("expectation", args=[known.name, "income"])

    assert refused(client, path, {"tolerance": "0", field: bad}, field) == (422, True)

    assert not known.expectations.exists()


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("kind", "field"), [("trailing", "days"), ("trailing", "gap_days"), ("same_hours", "weeks")]
)
def test_of_the_choice_of_a_reference(client: Client, known: Model, kind: str, field: str, bad: str) -> None:
    usual = {"trailing-days": "28", "trailing-gap_days": "0", "same_hours-weeks": "14", "kind": kind}
    name = f"{kind}-{field}"

    outcome = refused(client, f"/models/{known.name}/reference", usual | {name: bad}, name)

    assert outcome == (422, True)
    assert known.references.count() == 1

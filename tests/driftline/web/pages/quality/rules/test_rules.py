"""A rule names what its model has: a typing error is refused with the nearest name, on the page and over HTTP."""

from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.segments import declare_segment, set_segments
from monitors.rules.models import Rule
from monitors.rules.services import update_rule
from tests.markup import markup
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.slow

WRONG = [
    ("psi", {"feature": "incom"}, "/feature", "'incom' is none of the features of this model; did you mean 'income'?"),
    ("psi", {"feature": "zip"}, "/feature", "use one such as income, prediction"),
    ("accuracy", {"segment": "regoin:north"}, "/segment", "did you mean 'region:<value>'?"),
    ("accuracy", {"segment": "region:nort"}, "/segment", "did you mean 'region:north'?"),
    ("accuracy", {"segment": "ritch"}, "/segment", "did you mean 'rich'?"),
    ("count", {"segment": "region:north"}, "/segment", "count is measured of all rows; leave the segment out."),
    ("missing_share", {"feature": "income", "segment": "rich"}, "/segment", "missing_share is measured of all rows"),
    ("psi", {"feature": "region", "segment": "region:north"}, "/feature", "'region' chooses the rows of the segment"),
    ("accuracy_gap", {"feature": "regio"}, "/feature", "did you mean 'region'?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stored(
    project: Project, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of a model with two features, a segment for each region and one of its own."""
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        model = make_model(project, "watched")
        give_reference(model)
        set_segments(model=model, features=["region"], actor="test")
        rich = [{"feature": "income", "lower": 1.0}]
        declare_segment(model=model, name="rich", conditions=rich, actor="test")
        for back in range(2):
            log(model, rows_of_a_day(DAY - timedelta(days=back), 60))
        work(model)
        yield model.pk


@pytest.fixture
def watched(stored: int, db: None) -> Model:
    return Model.objects.get(pk=stored)


def form(metric: str, fields: dict[str, Any]) -> dict[str, Any]:
    rest = {
        "for_windows": 1,
        "recover_windows": 1,
        "min_rows": 100,
        "cooldown_hours": 1,
        "notify_within_hours": 1,
    }
    choices = {"span": "auto", "operator": "above", "severity": "warning", "action": "notify"}
    return {"name": "n", "metric": metric, "threshold": "0.2", **rest, **choices, **fields}


@pytest.mark.parametrize(("metric", "fields", "pointer", "sentence"), WRONG)
def test_a_name_that_the_model_does_not_have_is_refused(
    metric: str, fields: dict[str, Any], pointer: str, sentence: str, watched: Model, client: Client
) -> None:
    _, token = create_token(project=watched.project, name="t", scopes=["write", "read"], actor="test")
    body = {"model": watched.name, "name": "n", "metric": metric, "threshold": 0.2, **fields}
    headers = {"Authorization": f"Bearer {token}"}

    answers = [
        client.post(path, body, content_type="application/json", headers=headers)
        for path in ("/api/v1/rules", "/api/v1/rules/backtest")
    ]
    page = client.post(reverse("rule_new", args=[watched.name]), form(metric, fields))

    for answer in answers:
        [fault] = answer.json()["errors"]
        assert (answer.status_code, fault["pointer"]) == (422, pointer)
        assert sentence in fault["detail"]
    assert page.status_code == 422
    assert sentence in unescape(markup(page))
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("metric", "fields"),
    [
        ("psi", {"feature": "income"}),
        ("psi", {"feature": "*"}),
        ("psi", {"feature": "score"}),
        ("accuracy", {"segment": "region:north"}),
        ("accuracy", {"segment": "rich"}),
        ("accuracy_gap", {"feature": "region"}),
    ],
)
def test_what_the_model_has_is_taken(
    metric: str, fields: dict[str, Any], watched: Model, client: Client
) -> None:
    saved = client.post(reverse("rule_new", args=[watched.name]), form(metric, fields))

    assert saved.status_code == 302
    assert Rule.objects.get().metric == metric


def test_a_model_without_data_may_have_rules_on_features_to_come(model: Model, client: Client) -> None:
    saved = client.post(reverse("rule_new", args=[model.name]), form("psi", {"feature": "income"}))

    assert saved.status_code == 302


def test_a_rule_on_a_removed_segment_can_still_be_disabled(watched: Model, client: Client) -> None:
    client.post(reverse("rule_new", args=[watched.name]), form("accuracy", {"segment": "rich"}))
    rule = Rule.objects.get()
    watched.segments.all().delete()

    update_rule(rule=rule, actor="test", enabled=False)

    assert not Rule.objects.get().enabled


def test_a_rule_of_some_windows_of_more_says_so_where_it_is_listed(watched: Model, client: Client) -> None:
    fields = {"feature": "income", "for_windows": 3, "of_windows": 5, "recovery_threshold": "0.1"}

    client.post(reverse("rule_new", args=[watched.name]), form("psi", fields))

    rule = Rule.objects.get()
    assert (rule.for_windows, rule.of_windows, rule.recovery_threshold) == (3, 5, 0.1)
    assert "3 of 5 days" in markup(client.get(reverse("rules", args=[watched.name])))


def test_a_rule_of_one_comparison_is_listed_by_the_sentence_of_its_page(
    watched: Model, client: Client
) -> None:
    fields = {"segment": "rich", "operator": "below"}
    client.post(reverse("rule_new", args=[watched.name]), form("accuracy", fields))

    listed = " ".join(markup(client.get(reverse("rules", args=[watched.name]))).split())

    assert "Accuracy where rich is below 0.2 for 1 day" in listed


def test_a_good_value_on_the_wrong_side_of_the_threshold_is_refused(watched: Model, client: Client) -> None:
    fields = {"feature": "income", "recovery_threshold": "0.3"}

    page = client.post(reverse("rule_new", args=[watched.name]), form("psi", fields))

    assert page.status_code == 422
    assert "A window at 0.3 is above the threshold, 0.2, and would not be good" in unescape(markup(page))


def test_a_preview_says_what_the_rule_means_and_marks_where_it_would_have_fired(
    watched: Model, client: Client
) -> None:
    fields = {"feature": "", "threshold": "10", "for_windows": 2, "recovery_threshold": "5", "do": "preview"}

    page = client.post(reverse("rule_new", args=[watched.name]), form("count", fields | {"min_rows": 1}))

    shown = unescape(markup(page))
    assert (
        "Opens a warning incident when Predictions is above 10 for 2 days in a row. Resolves it after 1 good day "
        "back at 5."
    ) in shown
    assert shown.count('class="mark fired"') == 1
    assert "would have fired" in shown
    assert "data-figure" not in shown
    assert not Rule.objects.exists()


TREE = """
all:
  - {metric: count, threshold: 10}
  - not: {metric: psi, feature: income, limit: calibrated}
"""


def test_a_condition_is_written_as_yaml_and_read_as_a_sentence(watched: Model, client: Client) -> None:
    filled = form("psi", {"condition": TREE, "do": "preview", "threshold": ""})

    page = unescape(markup(client.post(reverse("rule_new", args=[watched.name]), filled)))
    client.post(reverse("rule_new", args=[watched.name]), filled | {"do": "save"})

    means = "Predictions is above 10 and not (Population stability index of income is beyond its calibrated limit)"
    assert f"Opens a warning incident when {means} for 1 day of at least 100 rows." in page
    assert "data-figure" not in page
    rule = Rule.objects.get()
    assert rule.condition == {
        "all": [
            {"metric": "count", "threshold": 10},
            {"not": {"metric": "psi", "feature": "income", "limit": "calibrated"}},
        ]
    }
    shown = unescape(markup(client.get(reverse("rule", args=[watched.name, rule.pk]))))
    assert "- metric: count" in shown
    assert f"{means} for" in " ".join(
        unescape(markup(client.get(reverse("rules", args=[watched.name])))).split()
    )


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("all: [", "Line 1, column"),
        ("luck", "A condition is an object with all, any or not"),
        (
            "all: [{metric: psi, feature: incom, threshold: 1}]",
            "all/0/feature: 'incom' is none of the features",
        ),
        ("{metric: count, threshold: true}", "threshold: 'True' is not a finite number."),
    ],
)
def test_a_condition_is_refused_at_its_field(
    condition: str, sentence: str, watched: Model, client: Client
) -> None:
    page = client.post(reverse("rule_new", args=[watched.name]), form("psi", {"condition": condition}))

    assert page.status_code == 422
    assert sentence in unescape(markup(page))
    assert not Rule.objects.exists()


def test_the_form_has_the_metrics_of_the_models_task_alone(watched: Model, client: Client) -> None:
    shown = markup(client.get(reverse("rule_new", args=[watched.name])))

    assert 'value="roc_auc"' in shown
    for other in ("rmse", "ndcg", "estimated_mae", "mae_gap"):
        assert f'value="{other}"' not in shown


def test_the_form_of_a_model_of_numbers_has_its_metrics_and_custom_ones_of_labels(
    model: Model, client: Client
) -> None:
    create_model(project=model.project, name="prices", task="regression", actor="test")

    shown = markup(client.get(reverse("rule_new", args=["prices"])))

    for name in ("rmse", "estimated_mae", "label_coverage", "custom", "custom_of_labels"):
        assert f'value="{name}"' in shown
    for other in ("roc_auc", "ndcg", "label_coverage_by_class"):
        assert f'value="{other}"' not in shown


def test_the_page_of_a_rule_says_in_which_state_it_is_and_why(watched: Model, client: Client) -> None:
    client.post(reverse("rule_new", args=[watched.name]), form("count", {"threshold": "10", "min_rows": 1}))
    rule = Rule.objects.get()
    rule.state.error = "KeyError: 'x'"
    rule.state.save()

    for page in (reverse("rule", args=[watched.name, rule.pk]), reverse("rules", args=[watched.name])):
        assert "It could not be judged: KeyError: 'x'" in unescape(markup(client.get(page)))


def test_a_critical_threshold_and_missing_data_are_part_of_the_sentence(
    watched: Model, client: Client
) -> None:
    fields = {
        "threshold": "10",
        "min_rows": 1,
        "critical_threshold": "50",
        "no_data": "alert",
        "do": "preview",
    }

    shown = unescape(markup(client.post(reverse("rule_new", args=[watched.name]), form("count", fields))))

    assert "It is critical above 50. Resolves it after 1 good day." in shown
    assert "A day without data counts like one in which that is so." in shown


def test_the_page_of_a_rule_gives_its_chart_and_suggests_the_models_own_names(
    watched: Model, client: Client
) -> None:
    client.post(reverse("rule_new", args=[watched.name]), form("count", {"threshold": "10", "min_rows": 1}))
    page = reverse("rule", args=[watched.name, Rule.objects.get().pk])

    shown = markup(client.get(page))
    csv = client.get(f"{page}?chart=backtest&as=csv").content.decode()

    for name in ("rich", "region:north", "income"):
        assert f'<option value="{name}">' in shown
    assert "Predictions: value" in csv
    assert len(csv.splitlines()) == 3

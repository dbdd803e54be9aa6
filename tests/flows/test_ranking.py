"""A model that ranks: from rows that name their query, and labels that tell each row's relevance, to its metrics."""

import html
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.store.models import MetricPoint
from tests.driftline.web.pages.visitors import viewer_of
from tests.inference.prediction_log.storage.aging import pack_all
from tests.markup import markup
from tests.worlds.approvals import DAY, label, log, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

NOON = DAY + timedelta(hours=12)
RANKING = ("ndcg", "ndcg_at_10", "mean_average_precision", "mrr", "hit_rate_at_10")


@pytest.fixture
def model() -> Model:
    project = Project.objects.create(slug="shop", name="Shop")
    model = create_model(
        project=project, name="search", task="ranking", actor="test", objectives={"label_lag_hours": 0}
    )
    Monitor.objects.filter(model=model).exclude(kind=MonitorKind.PERFORMANCE).update(enabled=False)
    return model


def offered(query: str, scores: list[float], at: datetime = NOON) -> list[SentPrediction]:
    return [
        SentPrediction(f"{query}-{at:%H}-{n}", rfc3339(at), "1", {"price": 1.0}, score, tags={"query": query})
        for n, score in enumerate(scores)
    ]


def chosen(rows: list[SentPrediction], relevances: list[float]) -> list[LabelItem]:
    return [LabelItem(row.id, relevance, None) for row, relevance in zip(rows, relevances, strict=True)]


def point(model: Model, metric: str, span: str = "day") -> MetricPoint:
    return MetricPoint.objects.get(
        model=model, metric=metric, span=span, role="champion", version="", segment="", start__gte=DAY
    )


def test_each_metric_is_the_mean_over_the_queries_of_the_day(model: Model) -> None:
    first, second = offered("shoes", [3.0, 2.0, 1.0]), offered("hats", [1.0, 2.0], NOON + timedelta(hours=1))
    log(model, first + second)

    label(model, chosen(first, [1.0, 0.0, 0.0]) + chosen(second, [1.0, 0.0]))
    work(model)

    assert (point(model, "mrr").value, point(model, "mrr").n) == (pytest.approx((1 + 1 / 2) / 2), 2)
    assert point(model, "ndcg").value == pytest.approx((1 + 0.6309297) / 2)
    assert point(model, "hit_rate_at_10").value == 1.0


def test_rows_without_a_label_have_no_place_and_packed_rows_keep_their_query(model: Model) -> None:
    rows = offered("shoes", [3.0, 2.0, 1.0])
    log(model, rows)
    pack_all()

    label(model, chosen(rows[1:], [0.0, 1.0]))
    work(model)

    assert (point(model, "mrr").value, point(model, "mrr").n) == (0.5, 1)


def test_a_query_whose_rows_lie_in_two_hours_counts_as_two(model: Model) -> None:
    early, late = offered("shoes", [2.0, 1.0]), offered("shoes", [2.0, 1.0], NOON + timedelta(hours=1))
    log(model, early + late)

    label(model, chosen(early, [1.0, 0.0]) + chosen(late, [0.0, 1.0]))
    work(model)

    assert (point(model, "mrr").value, point(model, "mrr").n) == (0.75, 2)


def test_rows_that_name_no_query_are_measured_as_numbers_alone(model: Model) -> None:
    rows = [SentPrediction(f"r{n}", rfc3339(NOON), "1", {"price": 1.0}, 2.0) for n in range(3)]
    log(model, rows)

    label(model, chosen(rows, [1.0, 1.0, 1.0]))
    work(model)

    assert point(model, "mae").value == 1.0
    assert not MetricPoint.objects.filter(model=model, metric__in=RANKING).exists()


def test_the_page_shows_them(model: Model, settings: Any) -> None:
    Monitor.objects.filter(model=model).update(min_rows=2)
    rows = offered("shoes", [3.0, 2.0, 1.0])
    log(model, [*rows, *offered("later", [1.0], NOON + timedelta(days=2))])
    label(model, chosen(rows, [0.0, 1.0, 0.0]))
    work(model)
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "whitenoise" not in one]

    page = markup(viewer_of(model.project).get(f"/models/{model.name}/performance"))

    said = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
    assert "NDCG is 0.631" in said
    assert all(title in said for title in ("Mean average precision", "Mean reciprocal rank", "Hit rate"))

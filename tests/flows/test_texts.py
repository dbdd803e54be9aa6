"""A feature that is a text: what is measured of it is compared, and each of its values is no category."""

import re
from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.test import Client
from msgspec.structs import replace

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import Membership, Project, User
from driftline.base.errors import Problem
from driftline.operations.invariants import check_all
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import update_model
from inference.texts import text_parts
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.expectations import expect, schema_of
from monitors.definitions.models import Reference
from monitors.definitions.segments import declare_segment
from monitors.definitions.services import build_reference
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import Summary
from monitors.summaries.uploads.layout import layout_of
from tests.worlds.approvals import DAY, log, rows_of_a_day, work

pytestmark = pytest.mark.slow

WORDS = {
    "latin": ["good", "bad", "fast", "parcel", "again", "never"],
    "cyrillic": ["хорошо", "плохо", "быстро"],
}
NEXT_DAY = DAY + timedelta(days=1)


def reviews(count: int, seed: int, *, script: str = "latin", words: int = 12) -> list[str]:
    rng = np.random.default_rng([seed, 3])
    lengths = 1 + rng.poisson(words, count)
    return [
        f"{rng.integers(10**8, 10**9)} {' '.join(rng.choice(WORDS[script], length))}" for length in lengths
    ]


def rows(day: datetime, count: int = 400, **kind: object) -> list[SentPrediction]:
    texts = reviews(count, day.toordinal(), **kind)  # type: ignore[arg-type]
    return [
        replace(row, features={"income": row.features["income"], "review": text})
        for row, text in zip(rows_of_a_day(day, count), texts, strict=True)
    ]


def store(model: Model, table: pa.Table) -> None:
    """Upload a reference."""
    file = BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    store_reference(
        model=model, version="1", stream=file, content_type="application/vnd.apache.parquet", actor="test"
    )


def give_reference(model: Model, *, times: int = 1) -> None:
    """Upload 2,000 rows, each review several times."""
    income = np.random.default_rng(1).normal(size=2_000)
    table = pa.table({"income": income, "review": reviews(2_000 // times, 5) * times})
    store(model, table)
    build_reference(Reference.objects.get(model=model).pk)


@pytest.fixture
def shop(model: Model) -> Model:
    update_model(model=model, actor="test", text_features=["review"])
    give_reference(model)
    return model


def psi_by_feature(model: Model, day: datetime = DAY) -> dict[str, MetricPoint]:
    found = MetricPoint.objects.filter(
        model=model, span="day", start=day, version="", segment="", metric="psi"
    )
    return {point.feature: point for point in found}


class TestDeclaredTexts:
    def test_are_compared_by_what_is_measured_of_them(self, shop: Model) -> None:
        log(shop, rows(DAY))

        work(shop)

        found = psi_by_feature(shop)
        assert found.keys() == {"income", *text_parts("review")}
        assert {point.status for point in found.values()} == {"ok"}

    def test_are_offered_to_rules_by_what_is_measured_of_them(self, shop: Model, project: Project) -> None:
        client = Client()
        owner = User.objects.create_user("owner@bank.example")
        Membership.objects.create(project=project, user=owner, role=Role.ADMIN)
        client.force_login(owner)

        page = client.get(f"/p/{project.slug}/models/{shop.name}/rules/new").content.decode()

        offered = re.findall(
            r'<option value="([^"]*)">', page.partition('id="features"')[2].partition("</datalist>")[0]
        )
        assert offered == ["*", *sorted(["income", *text_parts("review")]), "prediction", "score"]

    def test_in_another_script_and_of_another_length_are_noticed(self, shop: Model) -> None:
        log(shop, rows(DAY, script="cyrillic", words=4))

        work(shop)

        found = psi_by_feature(shop)
        moved = {name for name, point in found.items() if point.status in ("warning", "critical")}
        assert {"review.script", "review.length", "review.words"} <= moved
        assert "income" not in moved

    def test_stay_readable_in_the_log(self, shop: Model) -> None:
        sent = rows(DAY, 3)
        log(shop, sent)

        frame = frame_of(model=shop, start=DAY, end=NEXT_DAY)

        assert frame.features["review"].tolist() == [row.features["review"] for row in sent]

    def test_of_which_summaries_alone_are_kept_are_measured_before_they_are_dropped(
        self, shop: Model
    ) -> None:
        update_model(model=shop, actor="test", privacy={"review": "summary"})
        build_reference(Reference.objects.get(model=shop).pk)
        log(shop, rows(DAY))

        work(shop)

        assert frame_of(model=shop, start=DAY, end=NEXT_DAY).dropped["review"].all()
        assert psi_by_feature(shop)["review.length"].n == 400

    def test_that_are_hashed_stay_categories(self, model: Model) -> None:
        update_model(model=model, actor="test", text_features=["review"], privacy={"review": "hash"})
        log(model, rows(DAY, 30))

        work(model)

        summary = Summary.objects.filter(model=model, span="day", segment="").get()
        assert set(WindowSummary.decode(bytes(summary.payload)).features) == {"income", "review"}


class TestDeclaringLater:
    def test_measures_the_rows_that_are_logged_already_and_the_reference_anew(self, model: Model) -> None:
        give_reference(model, times=2)
        log(model, rows(DAY))
        work(model)
        assert "review.length" not in psi_by_feature(model)

        update_model(model=model, actor="test", text_features=["review"])
        build_reference(Reference.objects.get(model=model).pk)
        work(model)

        assert set(text_parts("review")) <= psi_by_feature(model).keys()
        assert [result for result in check_all() if not result.holds] == []


class TestWhatElseReadsTheTexts:
    def test_segments_and_custom_metrics_read_a_declared_text_as_it_was_sent(self, shop: Model) -> None:
        define_metric(model=shop, name="praised", expression="count() where review == 'good'", actor="ada")
        declare_segment(
            model=shop, name="praise", conditions=[{"feature": "review", "value": "good"}], actor="ada"
        )
        sent = rows(DAY, 300)
        for row in sent[:100]:
            row.features["review"] = "good"
        log(shop, sent)

        work(shop)

        assert Summary.objects.get(model=shop, span="day", segment="praise").rows == 100
        point = MetricPoint.objects.get(
            model=shop, span="day", start=DAY, version="", segment="", metric="custom", feature="praised"
        )
        assert point.value == 100

    def test_expectations_rules_and_jobs_know_what_is_measured_and_not_the_text(self, shop: Model) -> None:
        found = {column["feature"]: column["kind"] for column in schema_of(shop)}

        assert found == {
            "income": "number",
            "review.length": "number",
            "review.words": "number",
            "review.digits": "number",
            "review.script": "category",
            "review.script_share": "number",
        }
        assert list(layout_of(shop, shop.versions.get()).numbers) == ["income"]
        with pytest.raises(Problem, match="none of the features"):
            create_rule(
                project=shop.project, model=shop, actor="test", name="texts", metric="psi", feature="review",
                threshold=0.2,
            )  # fmt: skip
        expect(model=shop, changes={"review.length": {"least": 1.0}}, actor="test")


class TestNamesThatClash:
    def test_are_refused_when_the_text_is_declared(self, model: Model) -> None:
        store(model, pa.table({"review": ["good"] * 50, "review.length": list(range(25)) * 2}))

        with pytest.raises(Problem, match=r"'review\.length' is a feature"):
            update_model(model=model, actor="test", text_features=["review"])

    def test_are_refused_in_a_reference(self, model: Model) -> None:
        update_model(model=model, actor="test", text_features=["review"])

        with pytest.raises(Problem, match=r"'review\.length' is a feature"):
            store(model, pa.table({"review": ["good"] * 50, "review.length": list(range(25)) * 2}))

    def test_leave_the_real_feature_as_it_is_in_the_log(self, model: Model) -> None:
        update_model(model=model, actor="test", text_features=["review"])
        sent = [replace(row, features={**row.features, "review.length": 7_000.0}) for row in rows(DAY, 30)]
        log(model, sent)

        work(model)

        summary = Summary.objects.get(model=model, span="day", segment="")
        found = WindowSummary.decode(bytes(summary.payload)).features
        assert set(found) == {"income", "review", "review.length"}
        assert found["review.length"].minimum == 7_000  # type: ignore[union-attr]

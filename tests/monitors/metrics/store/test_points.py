"""A measured point becomes a row."""

from datetime import timedelta

from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.points import Point, Population, row_of
from tests.worlds.approvals import DAY


def test_a_row_has_each_value_of_its_point_under_the_right_name() -> None:
    model = Model(pk=7, name="loans")
    point = Point(
        "psi", 0.5, 300, "warning", feature="age", lower=0.4, upper=0.6, threshold=0.1, detail={"why": "Chance."}
    )  # fmt: skip

    row = row_of(model, Population("canary", "2", "region:north"), "day", DAY, point)

    by_name = MetricPoint(
        model=model, role="canary", version="2", segment="region:north", span="day", start=DAY,
        end=DAY + timedelta(days=1), metric="psi", feature="age", value=0.5, n=300, lower=0.4, upper=0.6,
        threshold=0.1, status="warning", detail={"why": "Chance."},
    )  # fmt: skip
    names = [field.attname for field in MetricPoint._meta.concrete_fields if field.name != "updated_at"]
    assert {name: getattr(row, name) for name in names} == {name: getattr(by_name, name) for name in names}
    assert row.model is model

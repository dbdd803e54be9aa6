"""A version that was trained elsewhere is compared and promoted as one that a run trained."""

from io import BytesIO

import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from driftline.base.errors import Problem
from inference.registry.lineage import Lineage
from inference.registry.models import Deployment, Model
from inference.registry.versions import upload_version
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import Run
from monitors.workflows.selectors import possible_challengers
from monitors.workflows.starting import starts
from tests.worlds.turning_flights import DAY, FIRST_DAY, World, flights

pytestmark = pytest.mark.slow

METADATA = b'{"features": [{"name": "wind"}, {"name": "load"}], "positive_class": "late"}'
MADE_HERE = ("snapshot", "check_labels", "check_data", "train", "convert", "validate", "register")


def upload(model: Model, *, turned: bool, columns: int = 2) -> str:
    """Train on one day with another program, and upload what it made."""
    rows = flights(FIRST_DAY + 20 * DAY, rows=2_000, turned=turned, seed=99)
    inputs = rows[["wind", "load"]].to_numpy()[:, :columns]
    onnx = to_onnx(
        LogisticRegression().fit(inputs, rows["label"]),
        initial_types=[("X", FloatTensorType([None, columns]))],
        options={"zipmap": False},
    )
    metadata = METADATA if columns == 2 else b'{"features": [{"name": "wind"}], "positive_class": "late"}'
    version, _ = upload_version(
        model=model,
        stream=BytesIO(onnx.SerializeToString()),
        metadata=metadata,
        lineage=Lineage(),
        actor="ada",
    )
    return version.version


def start(model: Model, version: str, key: str = "") -> Run:
    return starts.start_run(model=model, trigger="ada", actor="ada", version=version, request_key=key)


@pytest.mark.slow
def test_a_better_one_goes_through_shadow_and_gate_and_answers(table_world: World) -> None:
    model, version = table_world.model, upload(table_world.model, turned=True)

    run = start(model, version)
    advance(run_id=run.pk)
    for day in (11, 12):
        table_world.send_day(day)
    advance(run_id=run.pk)

    run.refresh_from_db()
    steps = {step.name: step.state for step in run.steps.all()}
    assert run.state == "promoted", run.steps.order_by("position").last()
    assert {steps[name] for name in MADE_HERE} == {"skipped"}
    assert steps["shadow"] == steps["gate"] == steps["promote"] == "done"
    assert Deployment.objects.get(model=model).champion.version == version
    assert not Deployment.objects.get(model=model).shadows.exists()


@pytest.mark.slow
def test_a_worse_one_is_rejected_and_the_champion_stays(table_world: World) -> None:
    model = table_world.model
    better = upload(model, turned=True)
    services.configure_workflow(model=model, actor="ada", pairs=300)
    Deployment.objects.filter(model=model).update(champion=model.versions.get(version=better))
    model.refresh_from_db()

    run = start(model, "1")
    advance(run_id=run.pk)
    for day in (11, 12):
        table_world.send_day(day)
    advance(run_id=run.pk)

    run.refresh_from_db()
    assert (run.state, run.verdict["decision"]) == ("rejected", "reject")
    assert Deployment.objects.get(model=model).champion.version == better


def test_the_same_key_starts_one_run(table_world: World) -> None:
    model, version = table_world.model, upload(table_world.model, turned=True)

    first, again = (start(model, version, key="nightly-7") for _ in range(2))

    assert first == again
    assert Run.objects.count() == 1
    services.cancel(run=first, actor="ada")
    assert start(model, version, key="nightly-7") == first, (
        "its run is over, and it still is the same request"
    )
    with pytest.raises(Problem, match="with another body"):
        start(model, "", key="nightly-7")


def test_what_could_not_take_the_champions_place_starts_nothing(table_world: World) -> None:
    model = table_world.model
    narrow = upload(model, turned=True, columns=1)

    for version, why in (
        ("1", "is the champion"),
        ("9", "has no version '9'"),
        (narrow, "has other inputs than the champion 1"),
    ):
        with pytest.raises(Problem, match=why) as refused:
            start(model, version)
        assert refused.value.errors[0].pointer == "/version"

    assert not Run.objects.exists()
    assert possible_challengers(model) == []


def test_the_page_offers_those_that_could(table_world: World) -> None:
    version = upload(table_world.model, turned=True)

    assert [one.version for one in possible_challengers(table_world.model)] == [version]

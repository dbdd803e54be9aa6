"""A device sends a share of its rows whole and summarises the others: the windows are as if it sent all."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftline.base.accounts.models import Project
from driftline.operations.invariants import check_all
from driftline_agent import agent as agent_module
from driftline_agent.agent import Agent, Options
from driftline_agent.rows.row_file import make_row_file
from driftline_agent.rows.summariser import MARGIN_MS, SPREAD_MS
from driftline_agent.server.identity import store_identity
from driftline_agent.server.uplink import enrol
from inference.edge.enrolment import create_device
from inference.edge.groups import change_group, create_group
from inference.edge.models import Device, DeviceGroup
from inference.edge.releases import start_release
from inference.image_names import image_parts
from inference.images import describe_images
from inference.prediction_log.models import PredictionRow
from inference.registry.models import Model
from inference.registry.services import create_model
from inference.signatures import ImageSpec, Signature
from inference.vector_names import part_names
from inference.vectors import describe_vectors
from monitors.definitions.models import FeatureProfile, SegmentFeature
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import Summary
from tests.driftline_agent.set_clock import SetClock
from tests.inference.edge.fleet import add_version
from tests.inference.onnx_models import (
    echoing_model,
    echoing_signature,
    embedding_model,
    embedding_signature,
    linear_model,
    linear_signature,
    probability_model,
    probability_signature,
)
from tests.worlds.approvals import work

pytestmark = pytest.mark.slow

HOURS = 3
ROWS_AN_HOUR = 60
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Kind:
    """A kind of model, with the tensors of the row of a number."""

    task: str
    content: bytes
    signature: Signature

    def tensors(self, number: int) -> list[dict[str, Any]]:
        if self.signature.image is not None:
            pixels = [(number * 7 + place) % 11 / 11 for place in range(48)]
            return [{"name": "X", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": pixels}]
        if self.task == "multiclass":
            return [tensor("amount", number / 7), tensor("carrier", ["AA", "UA", "AA"][number % 3], "BYTES")]
        return [tensor("X", number / 7 if self.task == "regression" else number % 100 / 99)]


def tensor(name: str, value: Any, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": [1, 1], "datatype": datatype, "data": [value]}


KINDS = [
    Kind("regression", linear_model(2.0, 1.0), linear_signature()),
    Kind("binary", probability_model(), probability_signature()),
    Kind("multiclass", echoing_model(), echoing_signature()),
    Kind(
        "regression",
        embedding_model(),
        msgspec.structs.replace(embedding_signature(), image=ImageSpec("NCHW", 0.0, 1.0)),
    ),
]
MEASURED = [*image_parts("X"), *part_names("embedding", 48)]


@pytest.fixture(params=KINDS, ids=lambda kind: "image" if kind.signature.image else kind.task)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def project(live_server: Any, transactional_db: None, settings: Any, tmp_path: Path) -> Project:
    settings.HOME = tmp_path / "server"
    return Project.objects.create(slug="ours", name="Ours")


def make_group_of(project: Project, kind: Kind, name: str, sampling: float) -> DeviceGroup:
    """Make a model with version 1, on the same grid as every other one, and a group that has it."""
    model = create_model(project=project, name=name, task=kind.task, actor="test")
    for feature in ("x", "amount", *MEASURED, *(["prediction"] if kind.task == "regression" else [])):
        FeatureProfile.objects.create(model=model, feature=feature, centre=0.0)
    if kind.task == "multiclass":
        SegmentFeature.objects.create(model=model, feature="carrier")
    group = create_group(model=model, name=name, sampling=sampling, actor="test")
    add_version(model, "1", kind.content, kind.signature)
    start_release(group=group, version="1", actor="test", now=datetime.now(UTC))
    return group


@dataclass
class PlayedTime:
    """An agent on a device with a clock that is set: it lives through the `HOURS` before `end`."""

    agent: Agent
    clock: SetClock
    model: Model
    end: datetime

    def live(self, kind: Kind) -> None:
        """Answer rows in each hour; return once the server has all of them."""
        self.agent._poll_at = math.inf
        self.agent._updater.poll()
        for hour in range(HOURS):
            self.clock.running = hour * HOUR_MS + HOUR_MS // 2
            for place in range(ROWS_AN_HOUR):
                body = json.dumps({"inputs": kind.tensors(hour * ROWS_AN_HOUR + place)})
                status = self.agent._dataplane.write(
                    f"/v2/models/{self.model.name}/infer", body.encode()
                ).status
                assert status == 200
        now = datetime.now(UTC)
        self.clock.running = HOURS * HOUR_MS + round((now - self.end).total_seconds() * 1000)
        self.clock.hear(round(now.timestamp() * 1000))
        self.agent._send_all()
        self.agent._add_up()


@pytest.fixture
def devices(live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    agents: list[Agent] = []
    sent_by_now = datetime.now(UTC) - timedelta(milliseconds=MARGIN_MS + SPREAD_MS)
    end = sent_by_now.replace(minute=0, second=0, microsecond=0)

    def make(group: DeviceGroup) -> PlayedTime:
        clock = SetClock(wall=0)
        monkeypatch.setattr(agent_module, "DeviceClock", lambda: clock)
        now = datetime.now(UTC)
        _, code = create_device(
            group=group, name=f"device of {group.name}".replace(" ", "."), actor="test", now=now
        )
        identity, first = enrol(live_server.url, code, clock, key="k" * 32)
        home = tmp_path / group.name
        home.mkdir()
        days_ago = round((now - timedelta(days=2)).timestamp() * 1000)
        store_identity(home, replace(identity, enrolled_ms=days_ago))
        make_row_file(home, first, max_bytes=Options.max_row_bytes)
        agents.append(Agent(Options(home, port=0)))
        return PlayedTime(agents[-1], clock, group.model, end)

    yield make
    for agent in agents:
        agent.close()


def described(column: Any) -> Any:
    """Write what a column holds, sums to nine digits: they are added in another order."""
    if isinstance(column, NumericSummary):
        sums = [float(f"{value:.9g}") for value in (column.total, column.total_sq)]
        return column.n, column.missing, column.minimum, column.maximum, column.counts.tolist(), sums
    if isinstance(column, CategoricalSummary):
        return column.n, column.missing, sorted(column.counts.items())
    return column


def windows_of(model: Model) -> dict[tuple[Any, ...], dict[str, Any]]:
    windows = {}
    for stored in Summary.objects.filter(model=model):
        summary = WindowSummary.decode(bytes(stored.payload))
        columns = {**summary.features, "prediction": summary.prediction, "score": summary.score}
        windows[stored.span, stored.start, stored.segment] = {
            "rows": (stored.rows, summary.rows, summary.latency_ms and summary.latency_ms.n),
            **{name: described(column) for name, column in columns.items()},
        }
    return windows


@pytest.mark.parametrize("sampling", [0.0, 0.3])
def test_rows_and_sums_together_are_the_windows_of_all_rows(
    sampling: float, kind: Kind, project: Project, devices: Any
) -> None:
    whole, sampled = (
        make_group_of(project, kind, "whole", 1.0),
        make_group_of(project, kind, "sampled", sampling),
    )
    for group in (whole, sampled):
        devices(group).live(kind)
        work(group.model)

    assert PredictionRow.objects.filter(model=whole.model).count() == HOURS * ROWS_AN_HOUR
    logged = PredictionRow.objects.filter(model=sampled.model).count()
    assert (logged == 0) if sampling == 0 else (0 < logged < HOURS * ROWS_AN_HOUR / 2)
    assert len(windows_of(whole.model)) >= HOURS + 1
    assert windows_of(sampled.model) == windows_of(whole.model)
    assert [one for one in check_all() if not one.holds] == []


def test_what_is_measured_of_images_and_embeddings_is_what_the_server_makes_of_them(
    project: Project, devices: Any
) -> None:
    kind = KINDS[-1]
    assert kind.signature.image is not None
    group = make_group_of(project, kind, "sampled", 0.0)
    FeatureProfile.objects.filter(model=group.model).delete()  # the device chooses the centres

    devices(group).live(kind)

    images = np.array([kind.tensors(number)[0]["data"] for number in range(HOURS * ROWS_AN_HOUR)], np.float32)
    expected = describe_images("X", images.reshape(-1, 3, 4, 4), kind.signature.image) | describe_vectors(
        "embedding", images
    )
    hours = Summary.objects.filter(model=group.model, span="hour", segment="")
    found = merge_windows([WindowSummary.decode(bytes(hour.payload)) for hour in hours]).features
    assert found.keys() == expected.keys() == set(MEASURED)
    for name, values in expected.items():
        column = found[name]
        assert isinstance(column, NumericSummary)
        assert (column.n, column.minimum, column.maximum) == (len(values), values.min(), values.max())


def test_an_hour_that_comes_again_counts_once(
    project: Project, devices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = make_group_of(project, KINDS[0], "sampled", 0.0)
    device = devices(group)
    windows = device.agent._summariser._windows
    with monkeypatch.context() as power_cut:
        power_cut.setattr(windows, "delete", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            device.live(KINDS[0])
    waiting = device.agent._rows.unsent_rows()

    device.agent._add_up()
    work(group.model)

    assert waiting == HOURS * ROWS_AN_HOUR
    assert device.agent._rows.unsent_rows() == 0
    hours = Summary.objects.filter(model=group.model, span="hour", segment="")
    assert [one.rows for one in hours] == [ROWS_AN_HOUR] * HOURS


def test_a_share_that_changes_counts_from_the_next_poll_on(project: Project, devices: Any) -> None:
    group = make_group_of(project, KINDS[0], "sampled", 1.0)
    device = devices(group)
    device.agent._updater.poll()

    change_group(group=group, sampling=0.0, actor="test")
    device.live(KINDS[0])
    work(group.model)
    device.agent._report()

    assert not PredictionRow.objects.exists()
    assert Device.objects.get().unsent_rows == 0
    assert sum(one.rows for one in Summary.objects.filter(span="day", segment="")) == HOURS * ROWS_AN_HOUR

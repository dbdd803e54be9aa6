import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from django.db.models.functions import Now
from django.test import Client
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from standardwebhooks import Webhook

from driftline.base.work.leased_work import claim
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.prediction_log.erasure.work import Work, work_of
from inference.registry.models import Model
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run, Step
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.service import Asked, Service
from tests.worlds.turning_flights import World

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwRk5Q2gZ1x7s="
type Answer = tuple[int, Any]


class Pipeline:
    """A pipeline of a user: what it was ordered, and what it sends to Driftline's API."""

    def __init__(self, client: Client, order: dict[str, Any]) -> None:
        self.client, self.order = client, order
        self.token = order["callback"]["token"]

    def read_order(self) -> Answer:
        answer = self.client.get(path_of(self.order["url"]), headers=self._headers)
        return answer.status_code, answer.json()

    def snapshot(self, url: str = "") -> Any:
        return self.client.get(url or path_of(self.order["snapshot"]["url"]), headers=self._headers)

    def part(self, number: int) -> Any:
        return self.client.get(
            path_of(self.order["snapshot"]["url"]), {"part": number}, headers=self._headers
        )

    def rows(self) -> pd.DataFrame:
        content = b"".join(self.snapshot().streaming_content)
        assert hashlib.sha256(content).hexdigest() == self.order["snapshot"]["sha256"]
        return pd.read_parquet(BytesIO(content))

    def progress(self, **body: Any) -> Answer:
        return self._send("progress", body)

    def failed(self, reason: str) -> Answer:
        return self._send("failed", {"reason": reason})

    def artifact(self, content: bytes, **parts: str) -> Answer:
        """Send an ONNX: as the body, or in a form where there are other parts."""
        path = path_of(self.order["callback"]["artifact"])
        if parts:
            file = BytesIO(content)
            file.name = "model.onnx"
            answer = self.client.post(path, {"file": file, **parts}, headers=self._headers)
        else:
            kind = "application/octet-stream"
            answer = self.client.post(path, content, content_type=kind, headers=self._headers)
        return answer.status_code, answer.json()

    def _send(self, what: str, body: dict[str, Any]) -> Answer:
        path = path_of(self.order["callback"][what])
        answer = self.client.post(path, body, content_type="application/json", headers=self._headers)
        return answer.status_code, answer.json()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def path_of(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def train(
    rows: pd.DataFrame, *, columns: tuple[str, ...] = ("wind", "load", "carrier"), c: float = 1.0
) -> bytes:
    """Train as a user would, with nothing of Driftline."""
    texts = [name for name in columns if name == "carrier"]
    numbers = [name for name in columns if name != "carrier"]
    rows = rows.assign(carrier=rows["carrier"].fillna("missing"))
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), texts), remainder="passthrough", sparse_threshold=0
    )
    fitted = make_pipeline(encode, LogisticRegression(C=c)).fit(rows[list(columns)], rows["label"])
    inputs = [(name, FloatTensorType([None, 1])) for name in numbers]
    inputs += [(name, StringTensorType([None, 1])) for name in texts]
    content: bytes = to_onnx(fitted, initial_types=inputs, options={"zipmap": False}).SerializeToString()
    return content


def train_to_answer_nan(rows: pd.DataFrame) -> bytes:
    """Train a model that gives no numbers as probabilities, as a division by 0 in it would make them."""
    model = onnx.load_from_string(train(rows))
    for node in model.graph.node:
        node.output[:] = ["before" if name == "probabilities" else name for name in node.output]
    model.graph.initializer.append(onnx.helper.make_tensor("nothing", onnx.TensorProto.FLOAT, [1], [np.nan]))
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "nothing"], ["probabilities"]))
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def service() -> Iterator[Service]:
    """A receiver that takes every order."""
    with Service(lambda asked: (202, None)) as running:
        yield running


type Trained = Callable[..., Run]


def configure(model: Model, service: Service, **changes: Any) -> None:
    services.configure_workflow(
        model=model,
        actor="ada",
        **{
            "trainer": "remote",
            "remote": {"kind": "http", "url": f"{service.url}/train"},
            "remote_secret": SECRET,
            **changes,
        },
    )


@pytest.fixture
def run(turned_world: World, service: Service) -> Run:
    """A run that waits for the pipeline of `service`."""
    configure(turned_world.model, service)
    started = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")
    advance(run_id=started.pk)
    started.refresh_from_db()
    return started


@pytest.fixture
def pipeline(run: Run, service: Service, client: Client) -> Pipeline:
    """The pipeline that got the order of `run`."""
    return Pipeline(client, verified(service.asked[-1]))


def verified(asked: Asked) -> Any:
    """Check an order as a receiver would, and return it."""
    return Webhook(SECRET).verify(asked.body, asked.headers)


def let_pass(run: Run, **fields: timedelta) -> None:
    """Move times of a run's training into the past, instead of waiting."""
    RemoteTraining.objects.filter(run=run).update(**{name: Now() - by for name, by in fields.items()})


def looked_at(run: Run) -> Run:
    """Let a worker look at a run, and return it as it is then."""
    advance(run_id=run.pk)
    return Run.objects.get(pk=run.pk)


def error_of(run: Run) -> str:
    return run.steps.get(state=Step.State.FAILED).error


def erasing(run: Run, time: pd.Timestamp) -> Work:
    """Begin to erase a person with a row that was predicted then."""
    requested = request_erasure(project=run.model.project, key="ada@example.com", actor="test")
    lease = claim(Erasure.objects.filter(pk=requested.pk))
    assert lease is not None
    row = ErasedRow(
        model_id=run.model_id,
        version_id=run.champion_id,
        role="champion",
        id="p1",
        named_in=(),
        time_us=round(time.timestamp() * 1e6),
    )
    return replace(work_of(lease), subject=Subject("ada@example.com", [row]))

"""Models of two versions, one of which is an upstream's, and what is asked of them."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

import msgspec
import numpy as np

from driftline.demo.api_client import Api
from driftline.demo.wire import HttpConnection
from tests.flows.installation.clients import Asking, AskingWithKey, request
from tests.flows.installation.running import Installation
from tests.upstreams.risk import METADATA, Rows, some_rows
from tests.upstreams.servers import Probabilities, Upstream
from tests.waiting import wait_until

JSON = {"Content-Type": "application/json"}


def deploy(
    installation: Installation, name: str, *, champion: Upstream | bytes, shadow: Upstream | bytes
) -> int:
    """Create a model whose version 1 answers and whose version 2 shadows it; give the model's id."""
    path = f"/api/v1/models/{name}"
    with closing(installation.api()) as api:
        model = api.post(
            "/api/v1/models", {"name": name, "task": "binary", "objectives": {"label_lag_hours": 0}}
        )
        for version in (champion, shadow):
            _add_version(api, path, version)
        generation = api.get(f"{path}/deployment")["generation"]
        change = msgspec.json.encode({"shadows": ["2"]})
        api.call("PATCH", f"{path}/deployment", change, JSON | {"If-Match": str(generation)})
    return int(model["id"])


def _add_version(api: Api, path: str, version: Upstream | bytes) -> None:
    if isinstance(version, Upstream):
        api.post(f"{path}/versions", version.version)
        return
    api.upload(f"{path}/versions", version, metadata=msgspec.json.encode(METADATA))


def question(rows: Rows, **parameters: str) -> bytes:
    """Rows as one tensor, in the Open Inference Protocol's JSON."""
    tensor = {"name": "X", "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
    return msgspec.json.encode({"inputs": [tensor], "parameters": parameters})


def ask_all(
    installation: Installation, name: str, batches: Sequence[Rows]
) -> tuple[list[str], Probabilities]:
    """Ask one request after another; give each row's id and its probability of class 1."""
    ids: list[str] = []
    probabilities: list[float] = []
    with closing(HttpConnection("127.0.0.1", installation.port)) as connection:
        for rows in batches:
            connection.write(request(installation, f"/v2/models/{name}/infer", question(rows)))
            answer = connection.read_answer()
            assert answer.status == 200, answer.body
            given = answer.headers["driftline-prediction-id"]
            ids += [given] if len(rows) == 1 else [f"{given}:{place}" for place in range(len(rows))]
            outputs = {one["name"]: one["data"] for one in msgspec.json.decode(answer.body)["outputs"]}
            probabilities += outputs["probabilities"][1::2]
    return ids, np.array(probabilities)


def await_whole_log(
    installation: Installation, model_id: int, count: int
) -> dict[str, list[tuple[str, str]]]:
    """Wait until the log has so many rows, and give the role and version of each prediction id's."""
    rows = wait_until(
        lambda: found if len(found := _log(installation, model_id)) >= count else None,
        what=f"a log of {count} rows",
    )
    by_id = defaultdict(list)
    for id_, role, version in rows or []:
        by_id[id_].append((role, version))
    return dict(by_id)


def _log(installation: Installation, model_id: int) -> list[tuple[str, str, str]]:
    return installation.query(
        "SELECT prediction_id, role, version FROM inference_predictionrow JOIN inference_version "
        "ON inference_version.id = version_id WHERE inference_predictionrow.model_id = %s ORDER BY 1, 2",
        [model_id],
    )


class AskingRows(Asking):
    """Asks for one row of one tensor at a time."""

    def _question(self, **parameters: str) -> bytes:
        return question(some_rows(1, 7), **parameters)


class AskingRowsWithKey(AskingWithKey):
    """The same with ids of its own, again until each was answered."""

    def _question(self, **parameters: str) -> bytes:
        return question(some_rows(1, 7), **parameters)

"""What does not fit a real server is refused when it is registered, with its reason, and nothing of it is kept."""

import copy
from contextlib import closing
from typing import Any

import msgspec
import pytest

from driftline.demo.api_client import ApiRefused
from driftline.demo.wire import HttpConnection
from tests.flows.installation.clients import Load, request
from tests.flows.installation.running import FEATURES, Installation
from tests.upstreams.deploying import AskingRows, AskingRowsWithKey, await_whole_log, deploy
from tests.upstreams.risk import as_onnx, ours
from tests.upstreams.servers import Upstream

pytestmark = [pytest.mark.upstreams, pytest.mark.e2e]


def test_an_unknown_model_a_wrong_signature_and_a_wrong_datatype_make_no_version(
    installation: Installation, upstream: Upstream
) -> None:
    name = f"unfit-{upstream.name}"
    narrow = FEATURES[:-1]
    inputs = [{"name": "X", "datatype": "FP32", "shape": [-1, len(narrow)]}]
    texts = [{"name": "label", "datatype": "BYTES", "shape": [-1], "upstream": upstream.label}]

    with closing(installation.api()) as api:
        api.post("/api/v1/models", {"name": name, "task": "binary"})

        def refusal(metadata: dict[str, Any] | None = None, **endpoint: Any) -> tuple[str, str, str]:
            body = copy.deepcopy(upstream.version)
            body["endpoint"] |= endpoint
            body["metadata"] |= metadata or {}
            with pytest.raises(ApiRefused) as caught:
                api.post(f"/api/v1/models/{name}/versions", body)
            assert caught.value.status == 422
            problem = caught.value.problem
            return problem["code"], problem["errors"][0]["pointer"], problem["detail"]

        unknown = refusal(model="nobody")
        signature = refusal(
            {"features": [{"name": one, "type": "float"} for one in narrow]},
            inputs=inputs,
        )
        datatype = refusal(outputs=texts)
        kept = api.get(f"/api/v1/models/{name}/versions")["items"]

    assert unknown[:2] == ("unknown_upstream_model", "/endpoint/model")
    assert "404" in unknown[2]
    assert "nobody" in unknown[2]
    assert signature[:2] == ("endpoint_failed", "/endpoint")
    assert datatype[:2] == ("endpoint_answers_garbage", "/endpoint")
    assert "'label'" in datatype[2]
    assert "BYTES" in datatype[2]
    assert kept == []


def test_rows_that_the_server_cannot_answer_fail_no_other_request_and_leave_no_row_in_the_log(
    installation: Installation, upstream: Upstream
) -> None:
    name = f"missing-{upstream.name}"
    model_id = deploy(installation, name, champion=upstream, shadow=as_onnx(ours()))
    missing = request(installation, f"/v1/models/{name}:predict", b'{"instances": [[NaN, 0.0, 0.0, 0.0]]}')

    refused = []
    with (
        closing(HttpConnection("127.0.0.1", installation.port)) as connection,
        Load(installation, name, asking=AskingRows, asking_too=AskingRows, keyed=AskingRowsWithKey) as load,
    ):
        for _ in range(5):
            load.await_more(3)
            connection.write(missing)
            refused.append(connection.read_answer())

    told = load.ledger(AskingRows, AskingRowsWithKey)
    logged = await_whole_log(installation, model_id, 2 * len(told.acknowledged))
    assert {answer.status for answer in refused} == {502}
    assert all("The model's server" in msgspec.json.decode(answer.body)["error"] for answer in refused)
    assert not told.refused
    assert logged.keys() == set(told.acknowledged)

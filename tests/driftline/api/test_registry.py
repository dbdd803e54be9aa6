"""From an uploaded file to a promotion and back, over HTTP."""

import json
import os
from pathlib import Path
from typing import Any

import onnx
import orjson
import pytest
from django.conf import settings

from inference.registry.models import PlanGeneration
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.inference.onnx_models import summing_model

MODEL = "/models/delay"
METADATA = {
    "features": [{"name": "f0", "type": "float"}, {"name": "f1", "type": "float"}],
    "outputs": {"prediction": "sum"},
}


def form(**parts: bytes) -> bytes:
    written = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"{"; filename=a" * (name == "file")}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts.items()
    ]
    return b"".join(written) + b"--x--\r\n"


def onnx_file(*, remark: str) -> bytes:
    """A model that sums two inputs; the remark makes it another file."""
    model = onnx.load_from_string(summing_model(2))
    model.doc_string = remark
    return model.SerializeToString()


@pytest.fixture
def upload(api: Api) -> Any:
    api.post("/models", {"name": "delay", "task": "regression"})

    def send(*, version: int = 1) -> Any:
        body = form(
            file=onnx_file(remark=str(version)),
            metadata=orjson.dumps(METADATA),
            lineage=b'{"trainer":"by hand"}',
        )
        return api.post(f"{MODEL}/versions", body, content_type="multipart/form-data; boundary=x")

    return send


def test_an_upload_is_inspected_and_the_first_becomes_champion(api: Api, upload: Any) -> None:
    answer = upload()

    assert answer.status_code == 201, answer.content
    version = answer.json()
    assert (version["version"], version["is_external"], version["lineage"]) == (
        "1",
        False,
        {"trainer": "by hand"},
    )
    assert [feature["name"] for feature in version["signature"]["features"]] == ["f0", "f1"]
    assert version["intake_report"]
    assert api.get(f"{MODEL}/deployment").json() == {
        "champion": "1",
        "previous": None,
        "shadows": [],
        "canary": None,
        "generation": 1,
    }


def test_the_same_file_again_is_the_same_version(api: Api, upload: Any) -> None:
    assert upload().json()["version"] == upload().json()["version"]
    assert len(api.get(f"{MODEL}/versions").json()["items"]) == 1


class TestDeployment:
    @pytest.fixture
    def two(self, upload: Any) -> None:
        upload()
        assert upload(version=2).json()["version"] == "2"

    def test_shadows_promotion_and_rollback(self, api: Api, two: None) -> None:
        shadowed = api.send("PATCH", f"{MODEL}/deployment", {"shadows": ["2"]}, If_Match="1").json()
        promoted = api.post(f"{MODEL}/promote", {"version": "2", "reason": "better"}, If_Match='"2"').json()
        rolled_back = api.post(f"{MODEL}/rollback", If_Match="3").json()

        assert (shadowed["shadows"], shadowed["generation"]) == (["2"], 2)
        assert (promoted["champion"], promoted["previous"], promoted["shadows"]) == ("2", "1", [])
        assert (rolled_back["champion"], rolled_back["generation"]) == ("1", 4)

    def test_a_stale_generation_changes_nothing(self, api: Api, two: None) -> None:
        answer = api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="7")

        assert_problem(answer, 412, "precondition_failed")
        assert api.get(f"{MODEL}/deployment").json()["champion"] == "1"

    def test_an_unknown_version_is_not_found(self, api: Api, two: None) -> None:
        assert_problem(api.post(f"{MODEL}/promote", {"version": "9"}, If_Match="1"), 404, "version_not_found")

    def test_says_which_serving_process_has_it(self, api: Api, two: None, monkeypatch: Any) -> None:
        PlanGeneration.objects.update_or_create(pk=1, defaults={"value": 5})
        monkeypatch.setattr("inference.registry.api.await_rollout", quick_rollout)
        with serving_process(generation=5):
            promoted = api.post(f"{MODEL}/promote", {"version": "2"}, If_Match="1").json()
        with serving_process(generation=4):
            rolled_back = api.post(f"{MODEL}/rollback", If_Match="2").json()

        assert promoted["reported"] == [{"pid": os.getpid(), "generation": 2}]
        assert promoted["missing"] == []
        assert rolled_back["reported"] == []
        assert [late["pid"] for late in rolled_back["missing"]] == [os.getpid()]


def quick_rollout(**arguments: Any) -> Any:
    from inference.registry.rollout import await_rollout

    return await_rollout(**arguments, timeout=0)


class serving_process:
    """A status file of a process that lives: ours."""

    def __init__(self, *, generation: int) -> None:
        self.path: Path = settings.HOME / "serving" / f"{os.getpid()}.json"
        self.report = {"pid": os.getpid(), "generation": generation, "stale_models": {}}

    def __enter__(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(self.report))

    def __exit__(self, *_: object) -> None:
        self.path.unlink()

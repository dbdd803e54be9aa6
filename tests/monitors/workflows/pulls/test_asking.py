"""What may be asked for, over the API."""

from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.registry.services import create_model
from monitors.workflows.pulls.models import Pull
from monitors.workflows.pulls.services import MAX_WAITING
from tests.monitors.workflows.pulls.conftest import Api, api_of

URL = "http://127.0.0.1:8900/model.onnx"
HUB = {"repository": "harbour/flights"}


@pytest.fixture(autouse=True)
def hub_on_loopback(settings: Any) -> None:
    settings.HUGGING_FACE_URL = "http://127.0.0.1:8901"


@pytest.fixture
def api(db: None) -> Api:
    project = Project.objects.create(slug="harbour", name="Harbour")
    return api_of(create_model(project=project, name="flight-delay", task="binary", actor="ada"))


def test_a_request_that_is_sent_again_asks_for_nothing_new(api: Api) -> None:
    _, first = api("POST", body={"url": URL}, **{"Idempotency-Key": "a"})
    _, again = api("POST", body={"url": URL}, **{"Idempotency-Key": "a"})
    status, other = api("POST", body={"url": URL, "version": "v2"}, **{"Idempotency-Key": "a"})

    assert again == first
    assert (status, other["code"]) == (422, "idempotency_key_reused")
    assert Pull.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": URL, "hugging_face": HUB}, "/url"),
        ({"url": "ftp://example.com/m.onnx"}, "/url"),
        ({"url": "http://10.0.0.1/m.onnx"}, "/url"),
        ({"url": "https://ada:s3cret@example.com/m.onnx"}, "/url"),
        ({"url": f"http://127.0.0.1/{'a' * 600}"}, "/url"),
        ({"url": URL, "token": "a\nb"}, "/token"),
        ({"url": URL, "token": "ü"}, "/token"),
        ({"url": URL, "sha256": "abc"}, "/sha256"),
        ({"url": URL, "version": "a/b"}, "/version"),
        ({"url": URL, "metadata": {"feature": []}}, "/metadata/feature"),
        ({"url": URL, "later": True}, "/later"),
        ({"hugging_face": {"repository": "flights"}}, "/hugging_face/repository"),
        ({"hugging_face": {"repository": "a/../b"}}, "/hugging_face/repository"),
        ({"hugging_face": {"repository": "a/b?c"}}, "/hugging_face/repository"),
        ({"hugging_face": HUB | {"revision": "../main"}}, "/hugging_face/revision"),
        ({"hugging_face": HUB | {"revision": "-r"}}, "/hugging_face/revision"),
        ({"hugging_face": HUB | {"file": "../../api/whoami"}}, "/hugging_face/file"),
        ({"hugging_face": HUB | {"file": "/etc/passwd"}}, "/hugging_face/file"),
        ({"hugging_face": HUB | {"file": "a\u0000b"}}, "/hugging_face/file"),
        ({"hugging_face": HUB | {"file": "a" * 201}}, "/hugging_face/file"),
    ],
)
def test_what_could_never_work_is_refused_at_its_field(api: Api, body: dict[str, Any], pointer: str) -> None:
    status, refused = api("POST", body=body)

    assert status == 422
    assert refused["errors"][0]["pointer"] == pointer
    assert not Pull.objects.exists()


def test_a_file_with_odd_letters_is_asked_for_as_it_is(api: Api) -> None:
    status, asked = api("POST", body={"hugging_face": HUB | {"file": "my models/modèle#1?.onnx"}})

    assert (status, asked["file"]) == (202, "my models/modèle#1?.onnx")
    assert asked["url"].endswith("/resolve/main/my%20models/mod%C3%A8le%231%3F.onnx")


def test_an_address_that_is_too_long_to_keep_is_refused(api: Api) -> None:
    hub = {"repository": f"{'a' * 96}/{'b' * 96}", "revision": "c/" * 49 + "c", "file": "%" * 120}

    status, refused = api("POST", body={"hugging_face": hub})

    assert (status, refused["errors"][0]["pointer"]) == (422, "/hugging_face")


def test_one_that_failed_is_cancelled_with_its_token(api: Api) -> None:
    _, asked = api("POST", body={"url": URL, "token": "hf_secret"})
    Pull.objects.filter(pk=asked["id"]).update(state="failed")

    status, cancelled = api("POST", f"/{asked['id']}/cancel")

    assert (status, cancelled["state"]) == (200, "cancelled")
    assert not Pull.objects.exclude(secret=b"").exists()
    assert api("POST", f"/{asked['id']}/cancel")[0] == 409


@pytest.mark.slow
def test_many_that_wait_are_enough(api: Api) -> None:
    statuses = [api("POST", body={"url": URL})[0] for _ in range(MAX_WAITING + 1)]

    assert statuses == [202] * MAX_WAITING + [409]


def test_those_of_another_project_are_not_seen(api: Api) -> None:
    _, asked = api("POST", body={"url": URL})
    other = create_model(
        project=Project.objects.create(slug="quay", name="Quay"),
        name="flight-delay",
        task="binary",
        actor="bo",
    )
    stranger = api_of(other)

    assert stranger("GET")[1]["items"] == []
    assert stranger("GET", f"/{asked['id']}")[0] == 404
    assert stranger("POST", f"/{asked['id']}/cancel")[0] == 404
    assert stranger("POST", f"/{asked['id']}/retry")[0] == 404
    assert [one["id"] for one in api("GET")[1]["items"]] == [asked["id"]]

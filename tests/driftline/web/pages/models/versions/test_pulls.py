"""The page on which versions are pulled from an address."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.workflows.pulls.models import Pull
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

HUB = "http://127.0.0.1:8901"
SENT = {"do": "pull", "address": "http://127.0.0.1:8900/m.onnx?sig=abcdefghij", "token": "s3cret-token"}


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW, settings.HUGGING_FACE_URL = ["127.0.0.1/32"], HUB


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/pulls"


def test_is_led_to_from_where_a_version_is_uploaded(client: Client, model: Model, path: str) -> None:
    assert f'{path}">Pull it from an address</a>' in markup(client.get(f"/models/{model.name}/versions"))
    assert "Nothing was pulled yet." in markup(client.get(path))


def test_asks_for_a_file_and_shows_no_secret(client: Client, path: str) -> None:
    page = markup(client.post(path, SENT | {"start_run": "on"}, follow=True))

    pull = Pull.objects.get()
    assert decrypt(pull.secret) == "s3cret-token"
    assert decrypt(pull.query) == "sig=abcdefghij"
    assert pull.starts_run
    assert "http://127.0.0.1:8900/m.onnx" in page
    assert "to be started" in page
    assert "s3cret" not in page
    assert "abcdefghij" not in page


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"address": "harbour/flights"}, "harbour/flights@main: model.onnx"),
        (
            {"address": "harbour/flights", "revision": "v2", "file": "onnx/a.onnx"},
            "harbour/flights@v2: onnx/a.onnx",
        ),
        (
            {"address": f"{HUB}/harbour/flights/blob/main/onnx/a.onnx"},
            "harbour/flights@main: onnx/a.onnx",
        ),
        (
            {"address": f"{HUB}/harbour/flights/resolve/c0ffee/a.onnx?download=true"},
            "harbour/flights@c0ffee: a.onnx",
        ),
    ],
)
def test_takes_a_repository_by_its_name_or_by_a_link(
    client: Client, path: str, sent: dict[str, str], place: str
) -> None:
    client.post(path, {"do": "pull", **sent})

    assert Pull.objects.get().place == place


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"address": "http://10.0.0.1/m.onnx"}, "address"),
        ({"address": "flights"}, "address"),
        ({"address": "harbour/flights", "revision": "../x"}, "revision"),
        ({"address": "harbour/flights", "file": "/etc/passwd"}, "file"),
        ({"sha256": "abc"}, "sha256"),
        ({"token": "ü"}, "token"),
        ({"metadata": "{"}, "__all__"),
        ({"metadata": '{"colour": 1}'}, "metadata"),
    ],
)
def test_says_what_is_wrong_at_its_field(client: Client, path: str, sent: dict[str, str], field: str) -> None:
    refused = client.post(path, SENT | sent)

    assert refused.status_code == 422
    assert list(refused.context["form"].errors) == [field]
    assert "s3cret" not in markup(refused)
    assert not Pull.objects.exists()


@pytest.mark.slow
def test_shows_what_went_wrong_and_tries_it_again_or_cancels_it(
    client: Client, model: Model, path: str
) -> None:
    pull = Pull.objects.create(
        model=model, source="hugging_face", url=f"{HUB}/x", repository="harbour/flights", revision="main",
        file="model.onnx", commit="c0ffee" * 6, state="failed", error="The receiver answered 404.", created_by="ada",
    )  # fmt: skip

    page = markup(client.get(path))
    assert "harbour/flights@main: model.onnx" in page
    assert "The receiver answered 404." in page
    assert "hx-get" not in markup(client.get(f"{path}?part=pulls"))

    client.post(path, {"do": "retry", "pull": str(pull.pk)})
    pull.refresh_from_db()
    assert pull.state == "waiting"
    assert "hx-get" in markup(client.get(f"{path}?part=pulls"))

    client.post(path, {"do": "cancel", "pull": str(pull.pk)})
    pull.refresh_from_db()
    assert pull.state == "cancelled"
    assert client.post(path, {"do": "cancel", "pull": "nought"}).status_code == 404


def test_lets_a_viewer_look(model: Model, path: str) -> None:
    assert "Only admins of this project pull versions." in markup(viewer_of(model.project).get(path))

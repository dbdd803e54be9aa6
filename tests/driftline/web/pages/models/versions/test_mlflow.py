"""The page on which a model's connection to MLflow is set up, and seen."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.workflows.mlflow.models import MlflowConnection, MlflowReport, MlflowVersion
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

SENT = {
    "do": "save",
    "url": "http://127.0.0.1:8900",
    "registered_model": "flights",
    "alias": "challenger",
    "secret": "driftline:hunter22",
    "polls": "on",
}


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/mlflow"


def test_says_that_nothing_is_followed(client: Client, path: str) -> None:
    page = markup(client.get(path))

    assert "No registered model is followed." in page
    assert "None came yet." in page


def test_stores_a_connection_and_shows_its_webhooks_secret_once(client: Client, path: str) -> None:
    saved = markup(client.post(path, SENT, follow=True))
    again = client.get(path).content.decode()

    connection = MlflowConnection.objects.get()
    secret = decrypt(connection.webhook_secret)
    assert secret in saved
    assert secret not in again
    assert decrypt(connection.secret) == "driftline:hunter22"
    assert "hunter22" not in again
    assert connection.webhook_token in again
    assert "MLflow was not asked yet." in again


def test_says_what_is_wrong_with_a_name_of_blanks(client: Client, path: str) -> None:
    refused = client.post(path, SENT | {"registered_model": "   "})

    assert refused.status_code == 422
    assert "This field is required" in markup(refused)


def test_says_what_is_wrong_at_its_field(client: Client, path: str) -> None:
    refused = client.post(path, SENT | {"alias": "champion"})

    assert refused.status_code == 422
    assert "follow another, such as challenger" in markup(refused)
    assert not MlflowConnection.objects.exists()


def test_shows_what_went_wrong_with_a_version_and_its_report(client: Client, model: Model, path: str) -> None:
    client.post(path, SENT)
    MlflowConnection.objects.update(poll_error="timeout: the receiver did not answer in time")
    taken = MlflowVersion.objects.create(
        model=model, url=SENT["url"], registered_model="flights", number="7", state="failed", error="No ONNX."
    )
    MlflowReport.objects.create(taken=taken, state="failed", error="The receiver answered 403.")

    page = markup(client.get(path))

    assert "MLflow could not be asked: timeout" in page
    assert "flights, version 7" in page
    assert "No ONNX." in page
    assert "The receiver answered 403." in page

    tried = markup(client.post(path, {"do": "retry"}, follow=True))

    assert "2 failures are tried again" in tried
    taken.refresh_from_db()
    assert taken.state == "waiting"


def test_makes_the_secret_anew_and_disconnects(client: Client, path: str) -> None:
    client.post(path, SENT)
    before = decrypt(MlflowConnection.objects.get().webhook_secret)

    rotated = markup(client.post(path, {"do": "rotate"}))

    secret = decrypt(MlflowConnection.objects.get().webhook_secret)
    assert secret != before
    assert secret in rotated
    client.post(path, {"do": "disconnect"})
    assert not MlflowConnection.objects.exists()


def test_lets_a_viewer_look(model: Model, path: str) -> None:
    page = viewer_of(model.project).get(path)

    assert "Only admins of this project change how a model is retrained." in markup(page)

"""A form that a viewer sends with a good CSRF token, as a browser does, changes nothing."""

import re
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from inference.prediction_log.sources.models import Source
from inference.registry.models import Model
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import create_channel
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.pulls.models import Pull
from tests.driftline.web.pages.visitors import viewer_of
from tests.worlds.every_kind import make_source

pytestmark = pytest.mark.slow

CONNECTION = {
    "do": "save", "url": "http://127.0.0.1:8900", "registered_model": "flights", "alias": "challenger",
}  # fmt: skip


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def viewer(project: Project, db: None) -> Client:
    """Somebody with a browser: Django reads the form for its token before the page is asked."""
    return viewer_of(project, enforce_csrf_checks=True)


def send(viewer: Client, path: str, form: dict[str, str]) -> int:
    shown = viewer.get("/accounts/display/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)
    assert token
    return viewer.post(path, {"csrfmiddlewaretoken": token[1], **form}).status_code


def test_on_the_page_of_mlflow(viewer: Client, model: Model) -> None:
    assert send(viewer, f"/models/{model.name}/mlflow", CONNECTION) == 403
    assert not MlflowConnection.objects.exists()


def test_on_the_page_of_pulls(viewer: Client, model: Model) -> None:
    form = {"do": "pull", "address": "http://127.0.0.1:8900/m.onnx"}

    assert send(viewer, f"/models/{model.name}/pulls", form) == 403
    assert not Pull.objects.exists()


@pytest.mark.parametrize("action", ["delete", "rotate", "save"])
def test_on_the_page_of_a_channel(viewer: Client, project: Project, action: str) -> None:
    channel, _ = create_channel(
        project=project, kind="webhook", name="pager", target="http://127.0.0.1:8901/hook", actor="test"
    )
    before = Channel.objects.values().get(pk=channel.pk)

    assert send(viewer, f"/settings/channels/{channel.pk}", {"do": action, "name": "mine"}) == 403
    assert Channel.objects.values().get(pk=channel.pk) == before


@pytest.mark.parametrize("action", ["delete", "pause", "save"])
def test_on_the_page_of_a_source(viewer: Client, model: Model, action: str) -> None:
    source = make_source(model, "scores").source
    before = Source.objects.values().get(pk=source.pk)

    assert send(viewer, f"/settings/sources/{source.pk}", {"do": action, "name": "mine"}) == 403
    assert send(viewer, f"/settings/sources/{source.pk}/dead-letters", {"do": "discard"}) == 403
    assert Source.objects.values().get(pk=source.pk) == before
    assert source.dead_letters.exists()

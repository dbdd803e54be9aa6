"""The page of a project as code: a document is compared, applied, and what was edited since is listed."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.alerts.models import Channel
from monitors.rules.models import Rule
from tests.driftline.web.pages.visitors import viewer_of

PAGE = "/settings/configuration"
DOCUMENT = """\
models:
  flights:
    rules:
      odd ages:
        metric: missing_share
        feature: age
        threshold: 0.2
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def document(model: Model) -> str:
    return DOCUMENT.replace("flights", model.name)


def send(client: Client, document: str, do: str) -> Any:
    return client.post(PAGE, {"document": document, "do": do})


def test_before_the_first_document_it_says_how_to_begin(client: Client, model: Model) -> None:
    page = client.get(PAGE).content.decode()

    assert "No document was applied yet" in page
    assert "Download as YAML" in page


def test_a_document_is_shown_before_it_is_applied(client: Client, model: Model, document: str) -> None:
    shown = send(client, document, "plan").content.decode()

    assert f"rule {model.name}/odd ages" in shown
    assert 'value="apply"' in shown
    assert not Rule.objects.filter(name="odd ages").exists()

    assert send(client, document, "apply").status_code == 302

    assert Rule.objects.get(name="odd ages").threshold == 0.2
    assert "Everything that it names is as it says" in client.get(PAGE).content.decode()


def test_what_is_edited_is_told_on_both_pages(client: Client, model: Model, document: str) -> None:
    send(client, document, "apply")
    rule = Rule.objects.get(name="odd ages")
    page = f"/models/{model.name}/rules/{rule.pk}"
    assert "it differs from the document then" in client.get(page).content.decode()
    Rule.objects.filter(pk=rule.pk).update(threshold=0.4)

    assert "threshold is 0.4 here and 0.2 there." in client.get(page).content.decode()
    assert "threshold: 0.4 → 0.2" in client.get(PAGE).content.decode()


def test_what_is_wrong_stands_at_the_document_and_the_document_stays(client: Client, model: Model) -> None:
    answer = send(client, "models: {x: {colour: red}}", "apply")

    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "/models/x/colour: " in shown
    assert "models: {x: {colour: red}}" in shown


def test_the_download_is_the_document_of_what_there_is(
    client: Client, model: Model, project: Project
) -> None:
    answer = client.get(f"{PAGE}/download")

    assert answer["Content-Disposition"] == f'attachment; filename="{project.slug}.yaml"'
    assert f"\n  {model.name}:\n    task: {model.task}\n" in answer.content.decode()
    assert send(client, answer.content.decode(), "plan").context["planned"] == []


def test_a_viewer_reads_it_without_addresses_and_applies_nothing(
    project: Project, model: Model, document: str
) -> None:
    Channel.objects.create(project=project, kind="email", name="mail", target="a@example.com")
    viewer = viewer_of(project)

    assert "Apply a document" not in viewer.get(PAGE).content.decode()
    assert "a@example.com" not in viewer.get(f"{PAGE}/download").content.decode()
    assert send(viewer, document, "apply").status_code == 403
    assert not Rule.objects.filter(name="odd ages").exists()

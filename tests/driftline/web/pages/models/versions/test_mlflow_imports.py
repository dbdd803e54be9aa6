"""The pages on which a whole registry of MLflow is imported."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

PAGE = "/mlflow-imports/"
SENT = {"url": "http://127.0.0.1:8900", "secret": "driftline:hunter22", "search": "flights"}


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def listed(project: Project, db: None) -> RegistryImport:
    """An import of which three registered models were listed, one of which has no name here."""
    found = RegistryImport.objects.create(
        project=project, url="http://127.0.0.1:8900", state="listed", created_by="ada"
    )
    for registered, name, fault in (
        ("delay", "delay", ""),
        ("fraud <b>", "fraud-b", "It is called fraud-b here."),
        ("遅延", "", "No name here can be made of it; choose one."),
    ):
        ImportedModel.objects.create(
            registry_import=found, registered_model=registered, name=name, naming_fault=fault
        )
    return found


def row_of(registered: str) -> ImportedModel:
    return ImportedModel.objects.get(registered_model=registered)


def start(client: Client, found: RegistryImport, *chosen: str, **more: str) -> Any:
    ticked = {"model": [str(row_of(one).pk) for one in chosen]}
    form: dict[str, Any] = {"do": "start", "versions": "aliases", "task": "", **ticked, **more}
    return client.post(f"{PAGE}{found.pk}", form, follow=True)


def test_are_led_to_from_where_a_model_is_added(client: Client) -> None:
    assert 'mlflow-imports/">Import them from its registry</a>' in markup(client.get("/models/new"))


def test_has_a_registry_listed_and_shows_no_secret(client: Client) -> None:
    page = markup(client.post(PAGE, SENT, follow=True))
    imports = markup(client.get(PAGE))

    found = RegistryImport.objects.get()
    assert (decrypt(found.secret), found.search, found.state) == ("driftline:hunter22", "flights", "waiting")
    assert "Its registered models are being listed." in page
    assert "hx-get" in page
    assert "names with “flights”" in imports
    assert "hunter22" not in page + imports


@pytest.mark.parametrize(
    ("sent", "field"),
    [({"url": "http://10.0.0.1"}, "url"), ({"secret": "ü"}, "secret"), ({"url": ""}, "url")],
)
def test_says_what_is_wrong_at_its_field(client: Client, sent: dict[str, str], field: str) -> None:
    refused = client.post(PAGE, SENT | sent)

    assert refused.status_code == 422
    assert list(refused.context["form"].errors) == [field]
    assert not RegistryImport.objects.exists()


def test_ticks_all_that_has_a_name_and_imports_what_is_ticked(client: Client, listed: RegistryImport) -> None:
    page = markup(client.get(f"{PAGE}{listed.pk}"))
    assert page.count("checked") == 2
    assert "fraud &lt;b&gt;" in page

    other = row_of("遅延")
    started = markup(start(client, listed, "delay", "遅延", **{f"name_{other.pk}": "chien", "follow": "on"}))

    assert "A worker imports 2 registered models." in started
    assert {row.registered_model: (row.name, row.state) for row in ImportedModel.objects.all()} == {
        "delay": ("delay", "waiting"),
        "fraud <b>": ("fraud-b", "listed"),
        "遅延": ("chien", "waiting"),
    }
    listed.refresh_from_db()
    assert listed.follows


def test_says_what_is_wrong_with_a_choice_and_keeps_it(client: Client, listed: RegistryImport) -> None:
    other = row_of("遅延")

    for sent, sentence in (
        (start(client, listed), "Nothing is ticked"),
        (start(client, listed, "遅延", **{f"name_{other.pk}": "a/b"}), "is not a model name"),
        (start(client, listed, "delay", "遅延", **{f"name_{other.pk}": "delay"}), "would both be delay"),
    ):
        assert sent.status_code == 422
        assert sentence in markup(sent)
    assert 'value="delay"' in markup(sent)
    assert not ImportedModel.objects.exclude(state="listed").exists()


def test_shows_what_became_of_each_version(client: Client, model: Model, listed: RegistryImport) -> None:
    row = row_of("delay")
    ImportedModel.objects.filter(pk=row.pk).update(
        state="done", model=model, note="It follows other, which stays."
    )
    ImportedVersion.objects.create(
        imported=row, position=0, number="2", aliases="champion", outcome="imported"
    )
    ImportedVersion.objects.create(imported=row, position=1, number="1", outcome="refused", reason="No ONNX.")

    page = markup(client.get(f"{PAGE}{listed.pk}"))
    part = client.get(f"{PAGE}{listed.pk}?part=imported")

    assert "3 registered models listed; 1 imported, 0 to come, 0 failed." in page
    assert "It follows other, which stays." in page
    assert "refused. No ONNX." in page
    assert (
        part.headers["HX-Refresh"] == "true"
    )  # nothing is under way, so that what can be chosen is shown again
    ImportedModel.objects.filter(pk=row.pk).update(state="waiting")
    assert "HX-Refresh" not in client.get(f"{PAGE}{listed.pk}?part=imported").headers


def test_tries_again_and_forgets(client: Client, listed: RegistryImport) -> None:
    ImportedModel.objects.filter(pk=row_of("delay").pk).update(
        state="failed", error="The receiver answered 503."
    )

    assert "The receiver answered 503." in markup(client.get(f"{PAGE}{listed.pk}"))
    assert "1 registered model tried again." in markup(
        client.post(f"{PAGE}{listed.pk}", {"do": "retry"}, follow=True)
    )
    assert row_of("delay").state == "waiting"

    client.post(f"{PAGE}{listed.pk}", {"do": "forget"})
    assert not RegistryImport.objects.exists()
    assert client.get(f"{PAGE}{listed.pk}").status_code == 404


def test_let_a_viewer_look(project: Project, listed: RegistryImport) -> None:
    viewer = viewer_of(project)

    assert "Only admins of this project import models." in markup(viewer.get(PAGE))
    assert "Only admins of this project import models." in markup(viewer.get(f"{PAGE}{listed.pk}"))
    assert viewer.post(f"{PAGE}{listed.pk}", {"do": "forget"}).status_code == 403
    assert RegistryImport.objects.exists()

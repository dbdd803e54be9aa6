"""The page on which a model's pipeline is set up."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.workflows.models import Workflow
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwRk5Q2gZ1x7s="
SENT = {
    "url": "http://127.0.0.1:8900/train",
    "remote_secret": SECRET,
    "training_hours": "6",
    "is_used": "on",
}
AIRFLOW = {
    "url": "https://airflow.example.com",
    "dag_id": "retrain",
    "username": "driftline",
    "remote_secret": "hunter22",
    "training_hours": "24",
    "is_used": "on",
}


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def path(model: Model) -> str:
    return f"/models/{model.name}/pipeline"


def workflow_of(model: Model) -> Workflow:
    return Workflow.objects.get(model=model)


def test_says_what_trains_now_where_no_pipeline_is_set_up(client: Client, path: str) -> None:
    page = markup(client.get(path))

    assert "No pipeline is set up; challengers are trained here, by sklearn_random_forest." in page
    assert "None is stored yet." in page


def test_stores_a_pipeline_and_never_shows_its_secret(client: Client, model: Model, path: str) -> None:
    saved = client.post(path, SENT, follow=True)

    workflow = workflow_of(model)
    assert "The pipeline is saved" in markup(saved)
    assert "Runs train with the pipeline at" in markup(saved)
    assert "One is stored for this address; leave this empty to keep it." in markup(saved)
    assert SECRET not in saved.content.decode()
    assert (workflow.trainer, workflow.training_hours) == ("remote", 6)
    assert workflow.remote == {"kind": "http", "url": "http://127.0.0.1:8900/train"}
    assert decrypt(workflow.remote_secret) == SECRET
    audited = AuditEntry.objects.get(action="workflow.update").after
    assert audited["remote_secret"] == "changed"


def test_keeps_the_secret_where_none_is_entered_and_forgets_it_for_another_address(
    client: Client, model: Model, path: str
) -> None:
    client.post(path, SENT)
    client.post(path, SENT | {"remote_secret": "", "training_hours": "7"})
    assert decrypt(workflow_of(model).remote_secret) == SECRET

    saved = client.post(path, SENT | {"remote_secret": "", "url": "http://127.0.0.1:8901/train"}, follow=True)

    assert "Its secret was for the other address and is removed" in markup(saved)
    assert bytes(workflow_of(model).remote_secret) == b""


@pytest.mark.slow
def test_proposes_to_train_with_a_pipeline_only_where_that_is_stored(
    client: Client, model: Model, path: str
) -> None:
    def is_proposed() -> bool:
        return bool(client.get(path).context["form"]["is_used"].value())

    before = is_proposed()
    saved = client.post(path, SENT | {"is_used": ""}, follow=True)
    unused = is_proposed()
    client.post(path, SENT)

    assert "challengers are still trained here" in markup(saved)
    assert (before, unused, is_proposed()) == (False, False, True)


def test_says_which_kind_may_train_twice(client: Client, path: str) -> None:
    assert "trains a second time" in markup(client.get(f"{path}?kind=github"))
    assert "trains a second time" not in markup(client.get(f"{path}?kind=argo"))


def test_says_which_kind_cannot_be_asked_about_a_training(client: Client, path: str) -> None:
    words = "Driftline cannot ask GitHub Actions about a training."

    assert words in markup(client.get(f"{path}?kind=github"))
    assert "cannot ask" not in markup(client.get(f"{path}?kind=sagemaker"))


def test_has_the_fields_of_the_kind_that_is_chosen_and_says_that_it_is_untested(
    client: Client, model: Model, path: str
) -> None:
    page = markup(client.get(f"{path}?kind=argo"))
    client.post(f"{path}?kind=airflow", AIRFLOW)

    assert "Workflow template" in page
    assert "Untested: no real server of this kind was at hand." in page
    assert workflow_of(model).remote == {
        "kind": "airflow",
        "url": "https://airflow.example.com",
        "dag_id": "retrain",
        "username": "driftline",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "https://10.0.0.1/train"}, "must not be reached"),
        ({"url": "ftp://train.example.com"}, "is not a web address"),
        ({"remote_secret": "hunter22"}, "is no key of Standard Webhooks"),
        ({"training_hours": "0"}, "greater than or equal to 1"),
    ],
)
def test_shows_at_the_field_what_could_never_work(
    client: Client, path: str, change: dict[str, str], words: str
) -> None:
    refused = client.post(path, SENT | change)

    assert refused.status_code == 422
    assert words in markup(refused)


def test_a_kind_that_does_not_exist_is_refused(client: Client, path: str) -> None:
    assert client.get(f"{path}?kind=cron").status_code == 422


def test_trains_here_again_once_the_pipeline_is_no_longer_used(
    client: Client, model: Model, path: str
) -> None:
    client.post(path, SENT)

    page = client.post(path, {**SENT, "is_used": ""}, follow=True)

    assert workflow_of(model).trainer == "sklearn_random_forest"
    assert "A pipeline is set up and not used" in markup(page)


def test_who_only_reads_sees_the_pipeline_and_no_button(model: Model, path: str) -> None:
    viewer = viewer_of(model.project)

    page = markup(viewer.get(path))

    assert "Only admins of this project change how a model is retrained." in page
    assert "Save" not in page

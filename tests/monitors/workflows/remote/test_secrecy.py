"""Secrets and run tokens that a service repeats, or that cannot be sent: nobody reads them."""

import json
from typing import Any

import pytest

from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import decrypt
from driftline.base.outbound.secrecy import without_secrets
from monitors.workflows import selectors
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run, Workflow
from monitors.workflows.schemas import RunOut
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import Pipeline, configure
from tests.monitors.workflows.remote.service import Asked, Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow

SECRET = 't0ken/of a "service"'


def described(run: Run) -> str:
    return str(RunOut.of(selectors.get_run(model=run.model, run_id=run.pk)))


@pytest.fixture
def prefect(turned_world: World, service: Service) -> Run:
    """A run that starts a flow with a secret."""
    remote = {"kind": "prefect", "url": service.url, "deployment": "retrain"}
    configure(turned_world.model, service, remote=remote, remote_secret=SECRET)
    return starts.start_run(model=turned_world.model, trigger="ada", actor="ada")


def test_a_service_that_repeats_what_it_was_sent_shows_no_secret(prefect: Run, service: Service) -> None:
    def repeat(asked: Asked) -> tuple[int, Any]:
        return 500, {"padding": "x" * 150, "headers": asked.headers, "body": asked.json}

    service.rules = repeat

    advance(run_id=prefect.pk)

    shown = described(prefect)
    assert "The receiver answered 500" in shown
    assert "t0ken" not in shown
    assert "dl_run_" not in shown


def test_a_service_that_calls_its_run_by_the_token_shows_no_token(prefect: Run, service: Service) -> None:
    service.rules = lambda asked: (201, {"id": asked.json["parameters"]["order"]["callback"]["token"]})

    advance(run_id=prefect.pk)

    assert RemoteTraining.objects.get(run=prefect).external_id == "***"


def test_a_pipeline_that_gives_up_with_its_token_in_the_reason_shows_none(
    run: Run, pipeline: Pipeline
) -> None:
    pipeline.progress(message=f"sent {pipeline.token}")
    answer = pipeline.failed(f"401 for Bearer {pipeline.token}")

    assert answer[1]["failure"] == "401 for Bearer ***"
    assert answer[1]["message"] == "sent ***"


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("kéy-of-a-service", "printable characters of ASCII"),
        ("two\nlines", "printable characters of ASCII"),
        (7, "use a text"),
    ],
)
def test_a_secret_that_no_header_can_hold_is_refused(
    turned_world: World, service: Service, secret: Any, sentence: str
) -> None:
    remote = {"kind": "prefect", "url": service.url, "deployment": "retrain"}

    with pytest.raises(Problem, match=sentence) as refusal:
        configure(turned_world.model, service, remote=remote, remote_secret=secret)

    assert refusal.value.errors[0].pointer == "/workflow/remote_secret"


def test_blanks_around_a_secret_are_not_kept(turned_world: World, service: Service) -> None:
    remote = {"kind": "prefect", "url": service.url, "deployment": "retrain"}

    configure(turned_world.model, service, remote=remote, remote_secret=" pasted\n")

    assert decrypt(Workflow.of(turned_world.model).remote_secret) == "pasted"


def test_every_form_in_which_an_answer_may_hold_a_secret_is_hidden() -> None:
    secret = 'ada:pass"word/1'
    held = [secret, json.dumps(secret), "YWRhOnBhc3Mid29yZC8x", "pass%22word%2F1", 'the password pass"word/1']

    assert all("pass" not in without_secrets(text, secret).replace("password", "") for text in held)
    assert without_secrets("YWRhOnBhc3Mid29yZC8x", secret) == "***"

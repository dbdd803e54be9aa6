"""The links in messages: which a webhook gets, and that nobody but its receiver reads them."""

import json
from datetime import datetime, timedelta

import pytest

from inference.registry.models import Deployment, DeploymentChange, Model, Version
from monitors.alerts.channels.masking import without_acts
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending.links import LASTS, LinkRefused, read_link
from tests.monitors.alerts.conftest import DAY, Fire


def links_of_the_message() -> dict[str, str]:
    links: dict[str, str] = json.loads(Delivery.objects.get().body)["links"]
    return links


@pytest.mark.usefixtures("webhook")
def test_a_webhook_names_each_act(fire: Fire) -> None:
    handle_transition(fire().pk)

    assert set(links_of_the_message()) == {"incident", "acknowledge", "snooze", "silence", "assign"}


@pytest.mark.usefixtures("webhook")
@pytest.mark.parametrize(("days", "is_offered"), [(2, True), (30, False)])
def test_rolling_back_is_offered_shortly_after_a_promotion(
    fire: Fire, model: Model, now: datetime, days: int, is_offered: bool
) -> None:
    former = Version.objects.create(model=model, version="0")
    Deployment.objects.filter(model=model).update(previous=former)
    DeploymentChange.objects.create(
        model=model,
        generation=1,
        kind="promote",
        actor="ada",
        before={},
        after={},
        event_time=now - days * DAY,
    )

    handle_transition(fire().pk)

    assert ("roll_back" in links_of_the_message()) is is_offered


def test_a_link_is_read_as_what_it_was_written_for(fire: Fire, webhook: Channel, now: datetime) -> None:
    handle_transition(fire().pk)
    incident = Incident.objects.get()
    token = links_of_the_message()["snooze"].rpartition("/")[2]

    link = read_link(token, project=webhook.project, now=now + timedelta(minutes=1))

    assert (link.act, link.incident, link.channel) == ("snooze", incident, webhook)
    with pytest.raises(LinkRefused) as refused:
        read_link(token, project=webhook.project, now=now + LASTS + timedelta(minutes=1))
    assert refused.value.status == 410


@pytest.mark.usefixtures("webhook")
def test_links_are_masked_where_members_read_what_was_sent(fire: Fire) -> None:
    handle_transition(fire().pk)
    body = Delivery.objects.get().body

    shown = without_acts(body)

    assert json.loads(shown)["links"]["acknowledge"].endswith("/p/airport/act/…")
    assert json.loads(shown)["links"]["incident"] == json.loads(body)["links"]["incident"]
    assert not any(
        url.rpartition("/act/")[2] in shown for url in links_of_the_message().values() if "/act/" in url
    )

"""The links in messages: opening one changes nothing, its button does one thing once, and it ends."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.signing import Signer
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Membership, Project, Role, User
from driftline.base.accounts.services import create_project
from inference.registry.models import Deployment, DeploymentChange, Model, Version
from monitors.alerts.incidents.acting import snooze
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Channel, Delivery, Incident, IncidentEvent, Silence
from monitors.alerts.sending import channel_services
from monitors.alerts.sending.links import LASTS, Act, link_of
from monitors.rules.models import Rule, Transition
from tests.markup import markup
from tests.pages_client import PagesClient

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
ADA = "ada@bank.example"
WITHOUT_SIGN_IN = [Act.ACKNOWLEDGE, Act.SNOOZE]
WITH_SIGN_IN = [Act.SILENCE, Act.ASSIGN, Act.ROLL_BACK]

type Link = Callable[..., str]


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def channel(project: Project, db: None) -> Channel:
    made, _ = channel_services.create_channel(
        project=project, kind="email", name="on call", target="oncall@bank.example", actor=ADA
    )
    return made


@pytest.fixture
def incident(project: Project, model: Model, channel: Channel, now: datetime) -> Incident:
    """An incident shortly after version 1.1 was promoted in place of version 1."""
    first = Version.objects.create(model=model, version="1")
    second = Version.objects.create(model=model, version="1.1")
    Deployment.objects.filter(model=model).update(champion=second, previous=first, generation=2)
    DeploymentChange.objects.create(
        model=model, generation=2, kind="promote", actor=ADA, before={}, after={}, event_time=now - DAY
    )
    rule = Rule.objects.create(
        project=project, model=model, name="log loss", metric="log_loss", threshold=0.5, cooldown=DAY,
        notify_within=DAY,
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=now - DAY, window_end=now, value=0.7, n=900,
        threshold=0.5,
    )  # fmt: skip
    handle_transition(fired.pk)
    return Incident.objects.get()


@pytest.fixture
def link(incident: Incident, channel: Channel, now: datetime) -> Link:
    def path(act: Act, *, age: timedelta = timedelta(seconds=1)) -> str:
        """Return the path of a link that was sent so long ago."""
        address = link_of(act, incident, channel, at=now - age)
        return address[address.index("/p/") :]

    return path


@pytest.fixture
def nobody(db: None) -> Client:
    """Somebody with the message, who is not signed in; forms are checked as browsers' are."""
    return Client(enforce_csrf_checks=True)


def press(client: Client, path: str) -> Any:
    """Open a link and press its button, as a browser does."""
    shown = client.get(path).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)
    generation = re.search(r'name="generation" value="(\d+)"', shown)
    assert token is not None, "there is a button"
    assert generation is not None
    form = {"csrfmiddlewaretoken": token[1], "generation": generation[1]}
    return client.post(path, form, follow=True)


def state() -> Any:
    """Return all that a link may change."""
    incident = Incident.objects.values().get()
    return incident, list(IncidentEvent.objects.values_list("pk")), Silence.objects.count(), generation()


def generation() -> int:
    return Deployment.objects.get().generation


def signed_in(project: Project, role: Role) -> Client:
    user = User.objects.create_user(f"{role}@bank.example")
    Membership.objects.create(project=project, user=user, role=role)
    client = PagesClient(enforce_csrf_checks=True)
    client.force_login(user)
    return client


class TestOpening:
    @pytest.mark.parametrize("act", Act)
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_changes_nothing_whoever_opens_it(
        self, link: Link, act: Act, method: str, nobody: Client, project: Project
    ) -> None:
        before = state()

        for client in (nobody, signed_in(project, Role.ADMIN)):
            for _ in range(3):
                assert getattr(client, method)(link(act)).status_code == 200

        assert state() == before

    @pytest.mark.parametrize("act", Act)
    def test_says_what_happens_with_one_button(self, link: Link, act: Act, project: Project) -> None:
        shown = markup(signed_in(project, Role.ADMIN).get(link(act)))

        main = shown.split("<main", 1)[1]
        assert main.count("<button") == 1
        assert "approvals" in main
        assert 'class="verdict notice"' in main

    @pytest.mark.parametrize("act", WITH_SIGN_IN)
    def test_asks_who_is_not_signed_in_to_sign_in_where_the_act_needs_a_person(
        self, link: Link, act: Act, nobody: Client
    ) -> None:
        path = link(act)

        shown = nobody.get(path).content.decode()

        assert f'href="/accounts/login/?next={path}"' in shown
        assert "<button" not in shown

    def test_sends_its_address_to_no_other_site(self, link: Link, nobody: Client) -> None:
        answer = nobody.get(link(Act.ACKNOWLEDGE))

        assert answer["Referrer-Policy"] == "same-origin"
        assert "no-store" in answer["Cache-Control"]


class TestActing:
    def test_acknowledges_without_a_sign_in_in_the_name_of_the_channel(
        self, link: Link, nobody: Client, incident: Incident
    ) -> None:
        shown = markup(press(nobody, link(Act.ACKNOWLEDGE)))

        incident.refresh_from_db()
        actor = "somebody with a link from the channel on call"
        assert (incident.status, incident.acknowledged_by) == ("acknowledged", None)
        assert incident.events.get(kind="acknowledged").actor == actor
        assert f"This is done already: Acknowledged by {actor}, on " in shown
        assert AuditEntry.objects.get(action="incident.acknowledge").actor == actor

    def test_acknowledges_in_the_name_of_who_is_signed_in(
        self, link: Link, project: Project, incident: Incident
    ) -> None:
        press(signed_in(project, Role.EDITOR), link(Act.ACKNOWLEDGE))

        incident.refresh_from_db()
        assert str(incident.acknowledged_by) == "editor@bank.example"

    def test_snoozes_for_a_day(self, link: Link, nobody: Client, incident: Incident, now: datetime) -> None:
        press(nobody, link(Act.SNOOZE))

        incident.refresh_from_db()
        assert incident.snoozed_until is not None
        assert abs(incident.snoozed_until - now - DAY) < timedelta(minutes=1)

    def test_silences_the_model_until_a_window_has_ended(
        self, link: Link, project: Project, incident: Incident
    ) -> None:
        press(signed_in(project, Role.EDITOR), link(Act.SILENCE))

        silence = Silence.objects.get()
        assert (silence.model, silence.created_by) == (incident.model, "editor@bank.example")
        assert incident.events.filter(kind="silenced").exists()

    def test_assigns_to_who_presses(self, link: Link, project: Project, incident: Incident) -> None:
        press(signed_in(project, Role.EDITOR), link(Act.ASSIGN))

        incident.refresh_from_db()
        assert str(incident.assignee) == "editor@bank.example"

    def test_rolls_back(self, link: Link, project: Project, incident: Incident) -> None:
        press(signed_in(project, Role.ADMIN), link(Act.ROLL_BACK))

        deployment = Deployment.objects.get()
        assert (deployment.champion and deployment.champion.version, deployment.generation) == ("1", 3)
        assert (
            incident.events.get(kind="rolled_back").text == "Rolled back to version 1 by admin@bank.example"
        )

    @pytest.mark.parametrize(
        ("act", "role"),
        [
            (Act.SILENCE, Role.VIEWER),
            (Act.ASSIGN, Role.VIEWER),
            (Act.ROLL_BACK, Role.VIEWER),
            (Act.ROLL_BACK, Role.EDITOR),
        ],
    )
    def test_needs_the_role_that_the_page_of_the_act_needs(
        self, link: Link, project: Project, act: Act, role: Role
    ) -> None:
        before, path = state(), link(act)
        client = signed_in(project, role)

        shown = client.get(path).content.decode()
        token = client.cookies["csrftoken"].value
        answer = client.post(path, {"csrfmiddlewaretoken": token, "generation": "2"})

        assert "Your role in the project Bank does not allow this" in shown
        assert answer.status_code == 403
        assert state() == before

    def test_refuses_a_form_of_another_site(self, link: Link, nobody: Client) -> None:
        before = state()

        assert nobody.post(link(Act.ACKNOWLEDGE)).status_code == 403
        assert state() == before


class TestReplay:
    @pytest.mark.parametrize("act", WITHOUT_SIGN_IN)
    def test_says_by_whom_it_was_done_and_does_nothing(self, link: Link, act: Act, nobody: Client) -> None:
        path = link(act)
        press(nobody, path)
        before, token = state(), nobody.cookies["csrftoken"].value

        again = nobody.post(path, {"csrfmiddlewaretoken": token})

        assert "This is done already" in again.content.decode()
        assert "by somebody with a link from the channel on call" in again.content.decode()
        assert state() == before

    @pytest.mark.parametrize("act", WITH_SIGN_IN)
    def test_of_a_person_does_nothing_either(self, link: Link, act: Act, project: Project) -> None:
        path, client = link(act), signed_in(project, Role.ADMIN)
        press(client, path)
        before, token = state(), client.cookies["csrftoken"].value

        again = client.post(path, {"csrfmiddlewaretoken": token, "generation": "3"})

        assert re.search("done already|assigned to you already", again.content.decode())
        assert state() == before

    def test_of_a_snooze_that_was_ended_does_not_snooze_again(
        self, link: Link, nobody: Client, incident: Incident, now: datetime
    ) -> None:
        press(nobody, link(Act.SNOOZE))
        snooze(incident=incident, until=None, actor=ADA, now=now)

        assert "<button" not in nobody.get(link(Act.SNOOZE)).content.decode()

    @pytest.mark.parametrize("act", Act)
    def test_of_an_incident_that_is_resolved_says_so(
        self, link: Link, act: Act, incident: Incident, project: Project
    ) -> None:
        Incident.objects.update(status="resolved")

        answer = signed_in(project, Role.ADMIN).get(link(act))

        assert answer.status_code == 409
        assert f"INC-{incident.pk} is resolved already." in answer.content.decode()


class TestEnding:
    @pytest.mark.parametrize("act", Act)
    def test_after_72_hours(self, link: Link, act: Act, nobody: Client) -> None:
        assert nobody.get(link(act, age=LASTS - timedelta(minutes=1))).status_code == 200

        ended = nobody.get(link(act, age=LASTS))

        assert ended.status_code == 410
        assert "links in messages work for 72 hours" in ended.content.decode()

    @pytest.mark.parametrize("end", ["deleted", "readdressed", "off"])
    def test_with_its_channel(self, link: Link, nobody: Client, channel: Channel, end: str) -> None:
        path, before = link(Act.ACKNOWLEDGE), state()
        nobody.get(path)
        token = nobody.cookies["csrftoken"].value
        if end == "deleted":
            channel_services.delete_channel(channel=channel, actor=ADA)
        elif end == "readdressed":
            channel_services.update_channel(channel=channel, actor=ADA, target="others@bank.example")
        else:
            channel_services.update_channel(channel=channel, actor=ADA, enabled=False)

        opened, pressed = nobody.get(path), nobody.post(path, {"csrfmiddlewaretoken": token})

        assert (opened.status_code, pressed.status_code) == (410, 410)
        assert "its channel was deleted or turned off" in pressed.content.decode()
        assert state() == before

    def test_not_with_a_new_secret_key_while_the_one_before_is_named(
        self, link: Link, nobody: Client, settings: Any
    ) -> None:
        path = link(Act.ACKNOWLEDGE)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a-new-key", [settings.SECRET_KEY]

        assert nobody.get(path).status_code == 200


class TestForging:
    @pytest.mark.parametrize(
        "change",
        [
            lambda token: token[:-1],
            lambda token: token + "A",
            lambda token: "A" + token[1:],
            lambda token: token.split(".")[0],
            lambda token: "." + token.split(".")[1],
            lambda token: "é" * 40,
            lambda token: "x" * 3_000,
            lambda token: Signer(salt="another purpose", sep=".").sign_object(["acknowledge", 1, 1, "", 0]),
            lambda token: Signer(salt="driftline.alerts.links", sep=".", key="guessed").sign_object(
                ["snooze"]
            ),
        ],
    )
    def test_is_no_link(self, link: Link, nobody: Client, change: Callable[[str], str]) -> None:
        head, _, token = link(Act.ACKNOWLEDGE).rpartition("/")

        answer = nobody.get(f"{head}/{change(token)}")

        assert answer.status_code == 404
        assert "This is no link of Driftline" in answer.content.decode()

    def test_of_another_project_is_no_link(self, link: Link, nobody: Client) -> None:
        create_project(slug="theirs", name="Theirs", owner=User.objects.create_user("eve@theirs.example"))

        answer = nobody.get(link(Act.ACKNOWLEDGE).replace("/p/bank/", "/p/theirs/"))

        assert answer.status_code == 404
        assert "approvals" not in answer.content.decode()

    def test_of_no_project_is_no_page(self, link: Link, nobody: Client) -> None:
        path = link(Act.ACKNOWLEDGE)

        assert nobody.get(path.removeprefix("/p/bank")).status_code == 404
        assert nobody.get(path.replace("/p/bank/", "/p/nothing/")).status_code == 404

    def test_one_act_is_not_another(self, link: Link, nobody: Client, incident: Incident) -> None:
        press(nobody, link(Act.SNOOZE))

        incident.refresh_from_db()
        assert incident.status == "open"

    def test_a_member_of_another_project_alone_acts_as_whoever_has_the_message(
        self, link: Link, incident: Incident
    ) -> None:
        stranger = User.objects.create_user("eve@theirs.example")
        create_project(slug="theirs", name="Theirs", owner=stranger)
        client = Client(enforce_csrf_checks=True)
        client.force_login(stranger)

        assert "<button" not in markup(client.get(link(Act.ASSIGN))).split("<main", 1)[1]
        press(client, link(Act.ACKNOWLEDGE))

        actor = incident.events.get(kind="acknowledged").actor
        assert actor == "somebody with a link from the channel on call"


class TestMessages:
    def test_offer_what_can_be_done(self, incident: Incident) -> None:
        delivery = Delivery.objects.get()

        for words in (
            "Acknowledge: http",
            "Snooze for a day: http",
            "Silence the model: http",
            "Assign to me: http",
            "Roll back to version 1: http",
        ):
            assert f"- {words}" in delivery.body
        assert delivery.html.count("/p/bank/act/") == 5

    @pytest.mark.usefixtures("incident")
    def test_lead_to_a_page_that_acts(self, nobody: Client) -> None:
        address = re.search(r"Acknowledge: http://[^/]+(\S+)", Delivery.objects.get().body)
        assert address is not None

        press(nobody, address[1])

        assert Incident.objects.get().status == "acknowledged"

    def test_are_shown_without_their_links(self, incident: Incident, client: Client) -> None:
        shown = client.get(f"/incidents/{incident.pk}").content.decode()

        assert "/p/bank/act/…" in shown
        assert not re.search(r"/act/\w", shown)

    def test_about_the_end_offer_nothing(self, incident: Incident, now: datetime) -> None:
        Delivery.objects.update(state="sent")
        rule = incident.rule
        ended = Transition.objects.create(
            rule=rule, model=incident.model, kind="resolved", window_start=now, window_end=now + DAY, value=0.4,
            n=900, threshold=0.5,
        )  # fmt: skip
        handle_transition(ended.pk)

        assert "/act/" not in Delivery.objects.get(event="incident.resolved").body

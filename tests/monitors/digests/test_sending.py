"""Digests: what they say, when they come, and how they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from driftline.base.accounts.models import Membership, Project, User
from inference.registry.models import Model
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.services import resolve
from monitors.digests import services
from monitors.digests.models import Digest
from monitors.digests.sending import send_due_digests
from monitors.feed.services import record_event
from monitors.rules.models import Rule, Transition
from tests.worlds.incidents import open_incident

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
type Rules = list[Rule]


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def project(person: User) -> Project:
    project = Project.objects.create(slug="airport", name="Airport")
    Membership.objects.create(project=project, user=person, role="viewer")
    return project


@pytest.fixture
def rule(project: Project) -> Rule:
    model = Model.objects.create(project=project, name="flight-delay", task="binary")
    return Rule.objects.create(
        project=project, model=model, name="log loss", metric="log_loss", threshold=0.55, cooldown=DAY,
        notify_within=DAY, severity="critical",
    )  # fmt: skip


@pytest.fixture
def digest(person: User, now: datetime) -> Digest:
    """One that is due an hour from now and covers what happens until then."""
    due = now + HOUR
    chosen = services.choose_digest(user=person, every="day", hour=due.hour, zone="UTC")
    assert chosen is not None
    return chosen


def fire(rule: Rule, now: datetime, *, ago: timedelta = timedelta()) -> Transition:
    return Transition.objects.create(
        rule=rule, model=rule.model, kind="opened", window_start=now - ago - DAY, window_end=now - ago, value=0.6,
        n=900, threshold=0.55,
    )  # fmt: skip


def tomorrow(now: datetime) -> datetime:
    return now + DAY + HOUR


def only_letter() -> EmailMultiAlternatives:
    [letter] = mail.outbox
    assert isinstance(letter, EmailMultiAlternatives)
    return letter


class TestContent:
    def test_has_what_opened_and_the_worst_models(self, digest: Digest, rule: Rule, now: datetime) -> None:
        incident = open_incident(fire(rule, now), title="flight-delay: Log loss 0.61 above 0.55")

        assert send_due_digests(tomorrow(now)) == 1

        letter = only_letter()
        assert letter.to == ["ada@example.com"]
        assert f"[critical] flight-delay: Log loss 0.61 above 0.55 (INC-{incident.pk}, open)" in letter.body
        assert "Worst models, by open incidents\n- flight-delay: 1 critical" in letter.body
        assert "/p/airport/incidents/" in letter.body
        html = letter.alternatives[0].content
        assert "Log loss 0.61" in str(html)

    def test_has_what_closed(self, digest: Digest, rule: Rule, now: datetime) -> None:
        incident = open_incident(fire(rule, now), title="Log loss is high")
        resolve(incident=incident, actor="ada@example.com", now=now)

        send_due_digests(tomorrow(now))

        assert f"Closed\n- INC-{incident.pk} Log loss is high" in only_letter().body
        assert "Worst models" not in only_letter().body

    def test_has_what_runs_did_and_which_ones_wait(self, digest: Digest, rule: Rule, now: datetime) -> None:
        for kind, run, text in (
            ("run.waiting_for_approval", 1, "flight-delay: run 1 waits"),
            ("run.waiting_for_approval", 2, "flight-delay: run 2 waits"),
            ("run.failed", 2, "flight-delay: run 2 failed"),
        ):
            record_event(project=rule.project, model=rule.model, kind=kind, subject=f"run-{run}", text=text)

        send_due_digests(tomorrow(now))

        body = only_letter().body
        assert "Runs\n- flight-delay: run 2 failed" in body
        assert "Wait for a person\n- flight-delay: run 1 waits, since" in body
        assert "run 2 waits" not in body

    def test_names_rules_that_flap_and_rules_that_never_fired(
        self, digest: Digest, rule: Rule, now: datetime
    ) -> None:
        for hours in range(3):
            fire(rule, now, ago=hours * HOUR)
        quiet = Rule.objects.create(
            project=rule.project, model=rule.model, name="too lax", metric="psi", threshold=9, cooldown=DAY,
            notify_within=DAY,
        )  # fmt: skip
        Rule.objects.filter(pk=quiet.pk).update(created_at=now - 100 * DAY)

        send_due_digests(tomorrow(now))

        assert "Rules that flap\n- log loss of flight-delay fired 3 times" in only_letter().body
        assert "Rules that never fired\n- too lax of flight-delay" in only_letter().body

    def test_names_channels_that_fail_and_not_where_they_send_to(
        self, digest: Digest, project: Project, now: datetime
    ) -> None:
        channel = Channel.objects.create(
            project=project, kind="slack", name="ops", target="https://hooks.example.com/SECRET"
        )
        Delivery.objects.create(channel=channel, event="test", event_id="evt_1", body="x", state="failed")

        send_due_digests(tomorrow(now))

        assert "Channels that fail\n- ops: 1 message did not arrive" in only_letter().body
        assert "SECRET" not in only_letter().body

    def test_cuts_long_lists_and_says_how_many_more_there_are(
        self, digest: Digest, rule: Rule, now: datetime
    ) -> None:
        for number in range(14):
            record_event(project=rule.project, kind="run.failed", subject=f"run-{number}", text="x" * 300)

        send_due_digests(tomorrow(now))

        assert "- and 4 more" in only_letter().body

    def test_of_other_peoples_projects_says_nothing(self, digest: Digest, rule: Rule, now: datetime) -> None:
        open_incident(fire(rule, now), title="Log loss is high")
        Membership.objects.all().delete()

        assert send_due_digests(tomorrow(now)) == 0
        assert mail.outbox == []

    def test_leaves_out_archived_projects(self, digest: Digest, rule: Rule, now: datetime) -> None:
        open_incident(fire(rule, now), title="Log loss is high")
        Project.objects.update(archived_at=now)

        assert send_due_digests(tomorrow(now)) == 0


class TestSending:
    def test_is_left_out_where_there_is_nothing_to_say(
        self, digest: Digest, rule: Rule, now: datetime
    ) -> None:
        Rule.objects.update(created_at=now - 100 * DAY)  # which never fired, and is no news alone

        assert send_due_digests(tomorrow(now)) == 0

        assert mail.outbox == []
        digest.refresh_from_db()
        assert digest.covered_until > now, "the quiet time is not looked at again"

    def test_waits_for_its_hour_and_comes_once(self, digest: Digest, rule: Rule, now: datetime) -> None:
        open_incident(fire(rule, now), title="Log loss is high")

        sent = [send_due_digests(at) for at in (now, tomorrow(now), tomorrow(now))]

        assert sent == [0, 1, 0]

    def test_that_failed_is_sent_at_the_next_tick_under_the_same_id(
        self, digest: Digest, rule: Rule, now: datetime, settings: Any, tmp_path: Any
    ) -> None:
        open_incident(fire(rule, now), title="Log loss is high")
        working = settings.EMAIL_BACKEND
        settings.EMAIL_BACKEND, settings.EMAIL_HOST = (
            "django.core.mail.backends.smtp.EmailBackend",
            "127.0.0.1",
        )
        settings.EMAIL_PORT = 1  # where nobody listens

        refused = send_due_digests(tomorrow(now))
        settings.EMAIL_BACKEND = working
        sent = send_due_digests(tomorrow(now) + HOUR / 12)

        assert (refused, sent) == (0, 1)
        assert only_letter().extra_headers["Message-ID"].startswith(f"<digest-{digest.user_id}-")

    def test_is_not_for_people_who_may_not_sign_in(
        self, digest: Digest, rule: Rule, person: User, now: datetime
    ) -> None:
        open_incident(fire(rule, now), title="Log loss is high")
        User.objects.update(is_active=False)

        assert send_due_digests(tomorrow(now)) == 0


class TestUnsubscribing:
    @pytest.fixture
    def address(self, digest: Digest, rule: Rule, now: datetime) -> str:
        open_incident(fire(rule, now), title="Log loss is high")
        send_due_digests(tomorrow(now))
        headers = only_letter().extra_headers
        assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        link = headers["List-Unsubscribe"].strip("<>")
        assert link in only_letter().body
        return "/" + link.split("/", 3)[3]

    def test_takes_one_post_without_signing_in(self, address: str) -> None:
        client = Client(enforce_csrf_checks=True)

        answer = client.post(address, {"List-Unsubscribe": "One-Click"})

        assert answer.status_code == 200
        assert not Digest.objects.exists()
        assert client.post(address).status_code == 200, "again it changes nothing"

    def test_is_not_done_by_a_program_that_looks_at_links(self, address: str) -> None:
        client = Client()

        assert [client.get(address).status_code, client.head(address).status_code] == [200, 200]

        assert Digest.objects.exists()
        assert "Get no more digests?" in client.get(address).content.decode()

    @pytest.mark.parametrize(
        "change", [lambda path: path[:-4] + "xx/", lambda _: "/accounts/digest/unsubscribe/1/"]
    )
    def test_refuses_an_address_that_was_not_made_here(self, address: str, change: Any) -> None:
        assert Client().post(change(address)).status_code == 404
        assert Digest.objects.exists()


class TestChoosing:
    @pytest.fixture
    def client(self, person: User, project: Project) -> Client:
        client = Client()
        client.force_login(person)
        return client

    def test_is_done_on_a_page_of_the_account(self, client: Client, person: User) -> None:
        values = {"every": "week", "weekday": "4", "hour": "17", "zone": "Europe/Berlin"}

        assert client.post("/accounts/digest/", values).status_code == 302

        chosen = Digest.objects.get()
        assert (chosen.user, chosen.every, chosen.weekday, chosen.hour, chosen.zone) == (
            person, "week", 4, 17, "Europe/Berlin",
        )  # fmt: skip
        assert 'value="week" ' in client.get("/accounts/digest/").content.decode()

    def test_of_never_ends_it(self, client: Client, digest: Digest) -> None:
        client.post("/accounts/digest/", {"every": "", "weekday": "0", "hour": "8", "zone": "UTC"})

        assert not Digest.objects.exists()

    @pytest.mark.parametrize(
        ("field", "value"), [("hour", "24"), ("zone", "Mars/Olympus"), ("weekday", "7"), ("every", "hour")]
    )
    def test_of_what_there_is_not_is_refused(self, client: Client, field: str, value: str) -> None:
        values = {"every": "day", "weekday": "0", "hour": "8", "zone": "UTC"}

        answer = client.post("/accounts/digest/", values | {field: value})

        assert answer.status_code == 422
        assert not Digest.objects.exists()

    def test_needs_a_person_who_is_signed_in(self, db: None) -> None:
        assert Client().get("/accounts/digest/").status_code == 302

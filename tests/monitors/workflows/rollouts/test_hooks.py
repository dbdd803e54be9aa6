"""Webhook channels of a plan are asked before each step and the promotion, and hold what they do not agree to."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import decrypt
from driftline.base.periods import rfc3339
from monitors.alerts.channels.webhook.transport import post
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import create_channel
from monitors.feed.models import FeedEvent
from monitors.workflows import services
from tests.monitors.alerts.receiver import Answer, Receiver, trickle
from tests.worlds.rollouts import STAGED, RolloutWorld, run_after_gate

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

HOOKED = STAGED | {"hooks": ["deploy gate"]}


@pytest.fixture(autouse=True)
def outbound(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def channel(project: Project, receiver: Receiver) -> Channel:
    created = create_channel(
        project=project, kind="webhook", name="deploy gate", target=receiver.url, actor="ada", events=[]
    )
    return created[0] if isinstance(created, tuple) else created


def ask_again(world: RolloutWorld) -> None:
    """Let the time pass after which a hook that refused is asked again, and go on."""
    step = world.run.steps.get(name="rollout")
    step.evidence |= {"ask_at": rfc3339(timezone.now() - timedelta(seconds=1))}
    step.save()
    world.check()


class TestHooks:
    def test_are_asked_before_each_step_and_the_promotion_and_signed(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        world = run_after_gate(project, plan=HOOKED)
        world.advance()
        for _ in range(2):
            world.let_pass(700)
            world.send(800, 250)
            world.check()

        bodies = [Webhook(decrypt(channel.secret)).verify(one.body, one.headers) for one in receiver.received]

        assert world.rollout.state == "watching"
        assert [(body["event"], body["rollout"]["weight"]) for body in bodies] == [
            ("rollout.before_step", 0.05),
            ("rollout.before_step", 0.5),
            ("rollout.before_promotion", 1.0),
        ]
        assert bodies[0]["rollout"]["challenger"] == "2"

    def test_that_do_not_agree_hold_the_first_share_until_they_do(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(409, body=b"freeze until Monday"), Answer()]
        world = run_after_gate(project, plan=HOOKED)
        world.advance()
        assert world.run.waiting_for == (
            "the hook deploy gate: The receiver answered 409: freeze until Monday"
        )
        assert world.deployment.canary is None

        ask_again(world)

        assert world.rollout.weight == 0.05

    def test_that_hang_are_cut_off_and_hold_the_first_share(
        self, project: Project, channel: Channel, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("monitors.alerts.channels.webhook.post", partial(post, deadline=0.3))
        receiver.answers = [trickle(b"HTTP/1.1 200 OK\r\n")]
        world = run_after_gate(project, plan=HOOKED)

        world.advance()

        assert world.run.waiting_for == (
            "the hook deploy gate: timeout: the receiver did not finish its answer within 0.3 s"
        )
        assert world.deployment.canary is None
        for _ in range(4):
            ask_again(world)
        assert (world.run.needs, world.deployment.canary) == ("person", None)
        assert FeedEvent.objects.filter(kind="run.waiting_for_approval").count() == 1

    def test_that_refuse_again_and_again_ask_a_person_who_has_the_last_word(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(500)]
        world = run_after_gate(project, plan=HOOKED)
        world.advance()
        for _ in range(4):
            ask_again(world)
        assert (len(receiver.received), world.run.needs) == (5, "person")

        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()

        assert (len(receiver.received), world.rollout.weight) == (5, 0.05)

    def test_that_refuse_what_a_person_approved_ask_once_and_say_why(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(409, body=b"freeze")]
        world = run_after_gate(project, plan=HOOKED, autonomy="approve")
        world.advance()
        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()
        for _ in range(6):
            ask_again(world)

        assert world.run.waiting_for == "the hook deploy gate: The receiver answered 409: freeze"
        assert (
            FeedEvent.objects.filter(kind="run.waiting_for_approval").count() == 2
        )  # approval, then the hook
        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()
        assert (len(receiver.received), world.rollout.weight) == (5, 0.05)

    def test_that_refuse_a_later_step_keep_the_share_as_it_is(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(), Answer(500)]
        world = run_after_gate(project, plan=HOOKED)
        world.advance()
        world.let_pass(700)
        world.send(800, 250)
        for _ in range(4):
            world.check()
        assert (world.rollout.weight, world.rollout.refusals, world.run.needs) == (0.05, 4, "traffic")

        world.check()

        assert (world.rollout.state, world.run.needs) == ("paused", "person")
        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()
        assert world.rollout.weight == 0.5

    def test_are_asked_before_a_promotion_at_once(
        self, project: Project, channel: Channel, receiver: Receiver
    ) -> None:
        receiver.answers = [Answer(500)]
        world = run_after_gate(project, plan={"hooks": ["deploy gate"]})

        world.advance()

        assert world.run.state == "waiting"
        assert json.loads(receiver.received[0].body)["event"] == "rollout.before_promotion"

    def test_of_a_channel_that_was_deleted_do_not_agree(self, project: Project, channel: Channel) -> None:
        world = run_after_gate(project, plan=HOOKED)
        Channel.objects.filter(pk=channel.pk).update(deleted_at=timezone.now())

        world.advance()

        assert world.run.waiting_for == "the hook deploy gate: there is no such webhook channel"

    def test_must_be_webhook_channels_of_the_project(self, project: Project, channel: Channel) -> None:
        with pytest.raises(Problem) as refused:
            run_after_gate(project, plan=STAGED | {"hooks": ["mail"]})

        assert refused.value.errors[0].pointer == "/workflow/rollout/hooks/0"
        assert "use one of deploy gate" in refused.value.errors[0].detail

"""Whatever happens to an incident and whenever timers are looked at: nothing is lost, and nothing comes twice."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from driftline.base.accounts.models import Project, User
from inference.registry.models import Model
from monitors.alerts import services
from monitors.alerts.incidents import handling
from monitors.alerts.models import Delivery, Incident
from monitors.alerts.sending import channel_services, due_notifications
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.stored_routing import routing_of, save_routing
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import Fire

ADA = "ada@example.com"
MINUTE = timedelta(minutes=1)
REPEAT = timedelta(hours=4)

hours = st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda one: 0 < one[1] - one[0] < 24)
trees = st.fixed_dictionaries(
    {
        "wait": st.sampled_from(("0s", "30s", "10m")),
        "interval": st.sampled_from(("0s", "5m", "1h")),
        "mute": st.none() | hours,
        "escalate": st.booleans(),
    }
)
acts = st.lists(
    st.tuples(st.sampled_from(("look", "fault", "acknowledge", "resolve")), st.integers(1, 600)),
    min_size=1,
    max_size=10,
)


def document(tree: dict[str, Any]) -> dict[str, Any]:
    """Write a tree that sends all to `mail`, maybe not at some hours, and to `pager` where nobody acknowledges."""
    route: dict[str, Any] = {"repeat_interval": "4h"}
    if tree["escalate"]:
        route |= {"escalate_after": "1h", "escalate_to": ["pager"]}
    below, intervals = {}, []
    if tree["mute"]:
        start, end = tree["mute"]
        below["mute_time_intervals"] = ["quiet"]
        intervals = [{"name": "quiet", "times": [f"{start:02}:00-{end:02}:00"]}]
    root = {"channels": ["mail"], "group_wait": tree["wait"], "group_interval": tree["interval"]}
    return {"route": root | route | {"routes": [below]}, "time_intervals": intervals}


@dataclass
class Story:
    """What happened: each act at its minute, and the messages that were not withheld."""

    begun_at: datetime
    at: datetime
    is_acknowledged: bool = False
    faults: int = 0
    messages: list[tuple[datetime, str, str]] = field(default_factory=list)
    looked_up: list[datetime] = field(
        default_factory=list
    )  # moments of messages that a look at the timers wrote
    seen: int = 0

    def note_messages(self, *, by_look: bool) -> None:
        """Note what was written since the last time, with the moment that it was written for."""
        new = Delivery.objects.filter(pk__gt=self.seen).order_by("pk").select_related("channel")
        for one in new:
            self.seen = one.pk
            if one.state == Delivery.State.PENDING:
                event = one.event.removeprefix("incident.")
                written_at = (
                    self.at if by_look else self.begun_at
                )  # else by the database's clock, which stands still
                at = max(written_at, one.next_attempt_at) if one.reason else written_at
                self.messages.append((at, one.channel.name, event))
                if by_look:
                    self.looked_up.append(at)

    def of(self, channel: str) -> list[str]:
        return [event for _, name, event in self.messages if name == channel]


def act(story: Story, what: str, fire: Fire, person: User) -> None:
    incident = Incident.objects.get()
    if what == "look":
        due_notifications.send_due_notifications(at=story.at)
    elif what == "fault":
        story.faults += 1
        causes = [{"kind": "fault", "feature": f"f{story.faults}", "score": 0.9, "evidence": "empty"}]
        age = timedelta(minutes=59 - story.faults)
        handling.handle_transition(fire("still_firing", age=age, detail={"causes": causes}).pk)
    elif what == "acknowledge":
        services.acknowledge(incident=incident, actor=ADA, user=person, now=story.at)
        story.is_acknowledged = True
    else:
        services.resolve(incident=incident, actor=ADA, now=story.at)


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=trees, deeds=acts)
@example(
    tree={"wait": "0s", "interval": "0s", "mute": None, "escalate": False},
    deeds=[("look", 15), ("fault", 46)],
)
def test_nothing_is_lost_and_nothing_comes_twice(
    project: Project,
    model: Model,
    rule: Rule,
    fire: Fire,
    person: User,
    tree: dict[str, Any],
    deeds: list[Any],
) -> None:
    with transaction.atomic():
        for name in ("mail", "pager"):
            channel_services.create_channel(
                project=project, kind="email", name=name, target="a@x.example", actor=ADA
            )
        save_routing(project=project, document=document(tree), actor=ADA)
        story = Story(database_time(), database_time())
        handling.handle_transition(fire().pk)
        story.note_messages(by_look=False)

        for what, minutes in deeds:
            act(story, what, fire, person)
            story.note_messages(by_look=what == "look")
            if what == "resolve":
                break
            story.at += minutes * MINUTE
        is_resolved = Incident.objects.get().status == Incident.Status.RESOLVED
        if not is_resolved:
            look_for_two_days(story)

        check(story, project, tree, is_resolved=is_resolved)
        transaction.set_rollback(True)


def look_for_two_days(story: Story) -> None:
    for _ in range(2 * 24):
        due_notifications.send_due_notifications(at=story.at)
        story.note_messages(by_look=True)
        story.at += 60 * MINUTE


def check(story: Story, project: Project, tree: dict[str, Any], *, is_resolved: bool) -> None:
    route = routing_of(project).tree.root.routes[0]
    mail, pager = story.of("mail"), story.of("pager")
    assert mail.count("opened") <= 1 >= pager.count("opened")
    assert mail[:1] in ([], ["opened"])
    assert pager[:1] in ([], ["opened"])
    if is_resolved:
        assert ("resolved" in mail) == ("opened" in mail)
        assert ("resolved" in pager) == ("opened" in pager)
    else:
        assert "opened" in mail  # what was muted too, at the end of the quiet hours
        assert ("reminder" in mail) or story.is_acknowledged
        assert story.is_acknowledged or ("opened" in pager) == tree["escalate"]
    if not tree["escalate"]:
        assert pager == []
    for at in story.looked_up:  # what else is written is so by the database's clock, which stands still here
        assert route.is_open(at.astimezone(UTC))
    mails = [(at, event) for at, name, event in story.messages if name == "mail" and event != "resolved"]
    for (before, _), (after, event) in pairwise(mails):
        least = REPEAT if event == "reminder" else route.group_interval
        assert after - before >= least

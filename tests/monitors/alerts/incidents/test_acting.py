"""What people do about an incident: assign, comment, snooze and say what it was."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry, Membership, Project, Role, User
from driftline.base.errors import Problem
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from monitors.alerts import services
from monitors.alerts.incidents import acting
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.conftest import DAY, Fire

ADA = "ada@example.com"
FAULT = [{"kind": "fault", "feature": "dest", "score": 0.4, "evidence": "empty in 40% of rows"}]


@pytest.fixture
def member(project: Project, person: User) -> User:
    Membership.objects.create(project=project, user=person, role=Role.EDITOR)
    return person


@pytest.fixture
def incident(fire: Fire, email: Channel) -> Incident:
    handle_transition(fire(detail={"causes": FAULT}).pk)
    Delivery.objects.update(state="sent")
    return Incident.objects.get()


def lines(kind: str) -> list[str]:
    return [event.text for event in Incident.objects.get().events.filter(kind=kind).order_by("pk")]


def another_alert(project: Project, model: Model, now: datetime, severity: str = "warning") -> None:
    """Have a second rule fire about the same feature, which joins the incident."""
    rule = Rule.objects.create(
        project=project, model=model, name="dest drifts", metric="psi", feature="dest", threshold=0.2,
        cooldown=DAY, notify_within=DAY, severity=severity,
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=now - DAY, window_end=now, value=0.4, n=800,
        threshold=0.2, detail={"feature": "dest", "causes": FAULT},
    )  # fmt: skip
    handle_transition(fired.pk)


class TestAssigning:
    def test_names_a_member_in_the_timeline_and_the_audit_trail(
        self, incident: Incident, member: User
    ) -> None:
        acting.assign(incident=incident, assignee=member, actor=ADA)
        acting.assign(incident=incident, assignee=member, actor=ADA)

        assert Incident.objects.get().assignee == member
        assert lines("assigned") == [f"Assigned to {member} by {ADA}"], "the second time changes nothing"
        assert AuditEntry.objects.filter(action="incident.assign", actor=ADA).count() == 1

    def test_of_nobody_takes_it_away(self, incident: Incident, member: User) -> None:
        acting.assign(incident=incident, assignee=member, actor=ADA)

        acting.assign(incident=incident, assignee=None, actor=ADA)

        assert Incident.objects.get().assignee is None

    def test_refuses_who_is_no_member(self, incident: Incident) -> None:
        stranger = User.objects.create_user("eve@example.com")

        with pytest.raises(Problem, match="is no member of this project"):
            acting.assign(incident=incident, assignee=stranger, actor=ADA)


class TestCommenting:
    def test_keeps_the_line_breaks_of_plain_text(self, incident: Incident) -> None:
        acting.comment(incident=incident, text="  the feed\r\nis late <b>\n", actor=ADA)

        assert lines("commented") == ["the feed\nis late <b>"]

    @pytest.mark.parametrize("text", ["", " \n", "x" * 2_001, "a\x00b", "a\x1b[31mb"])
    def test_refuses_what_is_no_comment(self, incident: Incident, text: str) -> None:
        with pytest.raises(Problem) as refused:
            acting.comment(incident=incident, text=text, actor=ADA)

        assert refused.value.errors[0].pointer == "/text"


class TestSnoozing:
    def test_withholds_what_changes_nothing_for_people(
        self, incident: Incident, fire: Fire, email: Channel, now: datetime
    ) -> None:
        acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)
        other = [FAULT[0] | {"feature": "origin"}]

        handle_transition(fire("still_firing", age=timedelta(0), detail={"causes": other}).pk)

        withheld = Delivery.objects.get(event="incident.updated")
        assert withheld.state == "suppressed"
        assert withheld.reason.startswith("Snoozed until ")

    @pytest.mark.parametrize("severity", ["notice", "critical"])
    def test_ends_when_an_alert_joins(
        self, incident: Incident, project: Project, model: Model, now: datetime, severity: str
    ) -> None:
        acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)

        another_alert(project, model, now, severity)

        assert Incident.objects.get().snoozed_until is None
        assert lines("snooze_ended") == ["The snooze ended, because an alert joined."]
        assert Delivery.objects.get(event="incident.updated").state == "pending"

    def test_ends_when_the_severity_rises_and_says_so(
        self, rule: Rule, fire: Fire, email: Channel, now: datetime
    ) -> None:
        Rule.objects.update(severity="warning")
        rule.refresh_from_db()
        handle_transition(fire().pk)
        acting.snooze(incident=Incident.objects.get(), until=now + DAY, actor=ADA, now=now)

        handle_transition(fire("worsened", age=timedelta(0), detail={"severity": "critical"}).pk)

        assert Incident.objects.get().snoozed_until is None
        assert lines("snooze_ended") == ["The snooze ended, because it is critical now."]

    def test_does_not_hide_the_end(self, incident: Incident, fire: Fire, now: datetime) -> None:
        acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)

        handle_transition(fire("resolved", value=0.4, age=timedelta(0)).pk)

        assert Delivery.objects.get(event="incident.resolved").state == "pending"

    def test_is_over_at_its_time(self, incident: Incident, fire: Fire, now: datetime) -> None:
        Incident.objects.update(snoozed_until=now - timedelta(minutes=1))
        other = [FAULT[0] | {"feature": "origin"}]

        handle_transition(fire("still_firing", age=timedelta(0), detail={"causes": other}).pk)

        assert Delivery.objects.get(event="incident.updated").state == "pending"

    def test_can_be_ended_by_hand(self, incident: Incident, now: datetime) -> None:
        acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)

        acting.snooze(incident=incident, until=None, actor=ADA, now=now)

        assert Incident.objects.get().snoozed_until is None
        assert lines("snooze_ended") == [f"{ADA} ended the snooze"]

    @pytest.mark.parametrize("days", [-1, 0, 32])
    def test_refuses_a_time_that_is_past_or_far_away(
        self, incident: Incident, now: datetime, days: int
    ) -> None:
        with pytest.raises(Problem) as refused:
            acting.snooze(incident=incident, until=now + days * DAY, actor=ADA, now=now)

        assert refused.value.errors[0].pointer == "/until"

    def test_refuses_what_is_resolved(self, incident: Incident, fire: Fire, now: datetime) -> None:
        handle_transition(fire("resolved", value=0.4, age=timedelta(0)).pk)

        with pytest.raises(Problem, match="is resolved already"):
            acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)


class TestJudging:
    @pytest.mark.parametrize(
        ("judgement", "reason", "closed"),
        [
            ("expected", "new prices", f"Closed as expected by {ADA}: new prices"),
            ("false_alarm", "", f"Closed as a false alarm by {ADA}"),
        ],
    )
    def test_closes_what_is_open_and_says_why(
        self, incident: Incident, now: datetime, judgement: str, reason: str, closed: str
    ) -> None:
        acting.judge(incident=incident, judgement=judgement, actor=ADA, now=now, reason=reason)

        judged = Incident.objects.get()
        assert (judged.status, judged.judgement, judged.judged_by) == ("resolved", judgement, ADA)
        assert judged.close_reason == closed
        assert closed in Delivery.objects.get(event="incident.resolved").body

    def test_of_what_is_over_notes_it_alone(self, incident: Incident, fire: Fire, now: datetime) -> None:
        handle_transition(fire("resolved", value=0.4, age=timedelta(0)).pk)

        acting.judge(incident=incident, judgement="false_alarm", actor=ADA, now=now)

        assert Incident.objects.get().judgement == "false_alarm"
        assert lines("judged") == [f"Marked as a false alarm by {ADA}"]
        assert not Incident.objects.get().closed_by

    def test_as_real_leaves_it_open(self, incident: Incident, now: datetime) -> None:
        acting.judge(incident=incident, judgement="real", actor=ADA, now=now)

        assert Incident.objects.get().status == "open"

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"judgement": "maybe"}, "/judgement"),
            ({"judgement": "expected"}, "/reason"),
            ({"judgement": "expected", "reason": "x" * 301}, "/reason"),
        ],
    )
    def test_refuses_what_says_nothing(
        self, incident: Incident, now: datetime, fields: dict[str, Any], pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            acting.judge(incident=incident, actor=ADA, now=now, **fields)

        assert refused.value.errors[0].pointer == pointer
        assert Incident.objects.get().status == "open"


class TestAuditTrail:
    """Each act has an entry with what was there before, and what is there after."""

    def entry(self, action: str) -> tuple[Any, Any]:
        made = AuditEntry.objects.get(action=f"incident.{action}", actor=ADA)
        return made.before, made.after

    def test_has_who_works_on_an_incident(self, incident: Incident, member: User) -> None:
        acting.assign(incident=incident, assignee=member, actor=ADA)

        assert self.entry("assign") == ({"assignee": None}, {"assignee": member.email})

    def test_has_until_when_an_incident_is_snoozed(self, incident: Incident, now: datetime) -> None:
        acting.snooze(incident=incident, until=now + DAY, actor=ADA, now=now)

        assert self.entry("snooze") == ({"snoozed_until": None}, {"snoozed_until": rfc3339(now + DAY)})

    def test_has_what_an_incident_was_and_why(self, incident: Incident, now: datetime) -> None:
        acting.judge(incident=incident, judgement="expected", actor=ADA, now=now, reason="new prices")

        assert self.entry("judge") == (
            {"status": "open", "judgement": ""},
            {"status": "resolved", "judgement": "expected", "reason": "new prices"},
        )

    def test_has_that_an_incident_was_acknowledged_and_resolved(
        self, incident: Incident, now: datetime
    ) -> None:
        services.acknowledge(incident=incident, actor=ADA, user=None, now=now)
        services.resolve(incident=incident, actor=ADA, now=now)

        assert self.entry("acknowledge") == ({"status": "open"}, {"status": "acknowledged"})
        assert self.entry("resolve") == ({"status": "acknowledged"}, {"status": "resolved"})

"""Silences are made, previewed and ended by people: what is refused, what is audited, and what is muted."""

from datetime import datetime, timedelta

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.models import Model
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident, Silence
from monitors.alerts.silences import (
    active_silences,
    create_silence,
    end_silence,
    preview_silence,
    with_states,
)
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import DAY, Fire

ADA = "ada@example.com"
BOB = "bob@example.com"
HOUR = timedelta(hours=1)


def silence(project: Project, start: datetime, end: datetime, model: Model | None = None) -> Silence:
    return create_silence(project=project, model=model, start=start, end=end, reason="snow", actor=ADA)


class TestMaking:
    @pytest.mark.parametrize(
        ("start", "end", "reason", "pointer"),
        [(0, 0, "snow", "/end"), (1, 0, "snow", "/end"), (0, 400, "snow", "/end"), (0, 1, " ", "/reason")],
    )
    def test_refuses_what_makes_no_sense(
        self, project: Project, now: datetime, start: int, end: int, reason: str, pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            create_silence(
                project=project,
                model=None,
                start=now + start * DAY,
                end=now + end * DAY,
                reason=reason,
                actor=ADA,
            )

        assert refused.value.errors[0].pointer == pointer


class TestEnding:
    def test_keeps_an_active_one_with_who_ended_it_and_when(self, project: Project, now: datetime) -> None:
        active = silence(project, now - DAY, now + DAY)

        end_silence(silence=active, actor=BOB, now=now)

        stored = Silence.objects.get()
        assert (stored.end, stored.ended_by, stored.created_by) == (now, BOB, ADA)

    def test_deletes_one_that_has_not_begun(self, project: Project, now: datetime) -> None:
        coming = silence(project, now + DAY, now + 2 * DAY)

        end_silence(silence=coming, actor=BOB, now=now)

        assert not Silence.objects.exists()

    def test_refuses_one_that_has_ended(self, project: Project, now: datetime) -> None:
        ended = silence(project, now - 2 * DAY, now - DAY)

        with pytest.raises(Problem) as refused:
            end_silence(silence=ended, actor=BOB, now=now)

        assert (refused.value.status, refused.value.code) == (409, "silence_ended")

    def test_sends_what_is_found_in_windows_that_end_afterwards(
        self, project: Project, email: object, fire: Fire, now: datetime
    ) -> None:
        active = silence(project, now - DAY, now + DAY)
        end_silence(silence=active, actor=BOB, now=now - 2 * HOUR)

        handling.handle_transition(fire(age=HOUR).pk)

        assert Incident.objects.get().deliveries.get().state == "pending"

    def test_leaves_an_audit_row_of_each_change(self, project: Project, now: datetime) -> None:
        end_silence(silence=silence(project, now - DAY, now + DAY), actor=BOB, now=now)
        end_silence(silence=silence(project, now + DAY, now + 2 * DAY), actor=BOB, now=now)

        assert [(row.action, row.actor) for row in project.audit.order_by("pk")] == [
            ("silence.create", ADA), ("silence.end", BOB), ("silence.create", ADA), ("silence.delete", BOB),
        ]  # fmt: skip


class TestStates:
    def test_are_active_coming_and_ended(self, project: Project, now: datetime) -> None:
        for start, end in ((-2, -1), (-1, 1), (1, 2)):
            silence(project, now + start * DAY, now + end * DAY)

        states = with_states(Silence.objects.order_by("start"), now=now)

        assert [state for state, _ in states] == ["ended", "active", "coming"]

    def test_a_model_is_in_its_own_silences_and_those_of_all_models(
        self, project: Project, model: Model, now: datetime
    ) -> None:
        neighbour = Model.objects.create(project=project, name="gate", task="binary")
        own = silence(project, now - DAY, now + DAY, model)
        of_all = silence(project, now - DAY, now + 2 * DAY)
        silence(project, now - DAY, now + DAY, neighbour)
        silence(project, now - 2 * DAY, now - DAY, model)

        assert active_silences(model, now=now) == [of_all, own]


class TestPreview:
    @pytest.mark.parametrize(("length", "is_muted"), [(HOUR, False), (DAY, True)])
    def test_says_which_rules_have_a_window_that_ends_in_it(
        self, project: Project, rule: Rule, length: timedelta, is_muted: bool
    ) -> None:
        noon = datetime.fromisoformat("2026-11-28T12:00:00Z")

        preview = preview_silence(project=project, model=rule.model, start=noon, end=noon + length)

        midnight = datetime.fromisoformat("2026-11-29T00:00:00Z")
        assert [(one.rule, one.window_end, one.is_muted) for one in preview.rules] == [
            (rule, midnight, is_muted)
        ]
        assert preview.mutes_nothing_until == (None if is_muted else midnight)

    def test_lists_the_open_incidents_of_the_model(
        self, project: Project, fire: Fire, model: Model, now: datetime
    ) -> None:
        handling.handle_transition(fire().pk)
        neighbour = Model.objects.create(project=project, name="gate", task="binary")

        by_model = {
            name: preview_silence(project=project, model=one, start=now, end=now + DAY).incidents
            for name, one in (("own", model), ("neighbour", neighbour), ("all", None))
        }

        incident = Incident.objects.get()
        assert by_model == {"own": [incident], "neighbour": [], "all": [incident]}

    def test_leaves_out_rules_that_are_off(self, project: Project, rule: Rule, now: datetime) -> None:
        Rule.objects.update(enabled=False)

        preview = preview_silence(project=project, model=None, start=now, end=now + DAY)

        assert (preview.rules, preview.mutes_nothing_until) == ([], None)


class TestLabels:
    """A silence may ask for labels, and then mutes alerts that have them all."""

    @pytest.mark.parametrize(
        ("matchers", "is_muted"),
        [
            ({}, True),
            ({"metric": "log_loss"}, True),
            ({"metric": "log_loss", "severity": "critical", "rule": "log loss"}, True),
            ({"metric": "log_loss", "severity": "warning"}, False),
            ({"feature": "income"}, False),
            ({"segment": "origin:JFK"}, False),
        ],
    )
    def test_decide_what_is_sent(
        self, project: Project, model: Model, fire: Fire, email: Channel, now: datetime, matchers: dict[str, str],
        is_muted: bool,
    ) -> None:  # fmt: skip
        create_silence(
            project=project, model=model, start=now - DAY, end=now + DAY, reason="snow", actor=ADA,
            matchers=matchers,
        )  # fmt: skip

        handling.handle_transition(fire().pk)
        handling.handle_transition(fire("resolved", value=0.4, age=HOUR / 2).pk)

        states = set(Delivery.objects.values_list("state", flat=True))
        assert states == ({"suppressed"} if is_muted else {"pending"})

    @pytest.mark.parametrize(
        ("matchers", "rules"), [({"feature": "income"}, 1), ({"rule": "log loss"}, 1), ({}, 2)]
    )
    def test_narrow_the_preview(
        self, project: Project, rule: Rule, now: datetime, matchers: dict[str, str], rules: int
    ) -> None:
        Rule.objects.create(
            project=project, model=rule.model, name="any feature", metric="psi", feature="*", threshold=0.2,
            cooldown=DAY, notify_within=DAY,
        )  # fmt: skip

        preview = preview_silence(project=project, model=None, start=now, end=now + DAY, matchers=matchers)

        assert len(preview.rules) == rules

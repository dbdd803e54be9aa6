"""A rule's standing over windows, against a plain oracle and the promises it makes."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.rules.judging.conditions import RuleOutcome, RuleProgress, step
from tests.monitors.rules.oracle import BAD, BETWEEN, DAY, GOOD, NO_DATA, TERRIBLE, AboveOne, plainly

MANY = int(os.environ.get("DRIFTLINE_RANDOM_RULES", 5 * settings().max_examples))  # 10,000 take a minute
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Day:
    end: datetime
    is_breached: bool | None
    is_critical: bool = False
    is_recovered: bool = False


def day(rule: AboveOne, end: datetime, value: float | None) -> Day:
    if value is None:
        return Day(end, None)
    return Day(end, value > 1.0, is_critical=value > 3.0, is_recovered=value <= rule.good_at)


def outcomes(rule: AboveOne, values: list[float | None]) -> list[str]:
    progress, seen = RuleProgress(), []
    for number, value in enumerate(values):
        verdict = step(rule, progress, day(rule, START + number * DAY, value))
        progress = verdict.progress
        seen.append(verdict.outcome.value)
    return seen


class TestOpening:
    def test_opens_at_once_when_one_window_is_enough(self) -> None:
        assert outcomes(AboveOne(), [GOOD, BAD]) == ["", "opened"]

    def test_waits_for_as_many_windows_in_a_row_as_the_rule_asks(self) -> None:
        assert outcomes(AboveOne(for_windows=3), [BAD, BAD, GOOD, BAD, BAD, BAD])[-1] == "opened"
        assert "opened" not in outcomes(AboveOne(for_windows=3), [BAD, BAD, GOOD, BAD, BAD])

    def test_opens_on_three_of_five_windows_wherever_they_lie(self) -> None:
        rule = AboveOne(for_windows=3, of_windows=5)

        assert outcomes(rule, [BAD, GOOD, BAD, GOOD, BAD])[-1] == "opened"
        assert "opened" not in outcomes(rule, [BAD, GOOD, BAD, GOOD, GOOD, BAD])
        assert outcomes(rule, [BAD, GOOD, GOOD, BAD, GOOD, BAD, BAD])[-1] == "opened"

    def test_counts_no_window_without_data_among_them(self) -> None:
        rule = AboveOne(for_windows=2, of_windows=3)

        assert outcomes(rule, [BAD, NO_DATA, NO_DATA, NO_DATA, GOOD, BAD])[-1] == "opened"

    def test_is_pending_only_while_the_windows_seen_may_still_be_among_them(self) -> None:
        rule, progress, standings = AboveOne(for_windows=2, of_windows=3), RuleProgress(), []
        for number, value in enumerate([BAD, GOOD, GOOD, GOOD]):
            progress = step(rule, progress, day(rule, START + number * DAY, value)).progress
            standings.append(progress.name)

        assert standings == ["pending", "pending", "normal", "normal"]


class TestMissingData:
    def test_alerts_where_the_rule_says_so(self) -> None:
        rule = AboveOne(no_data="alert", for_windows=2)

        assert outcomes(rule, [GOOD, NO_DATA, NO_DATA, GOOD]) == ["", "", "opened", "resolved"]

    def test_counts_as_good_where_the_rule_says_so(self) -> None:
        assert outcomes(AboveOne(no_data="ok"), [BAD, NO_DATA]) == ["opened", "resolved"]

    def test_is_noted_though_it_changes_nothing(self) -> None:
        verdict = step(AboveOne(), RuleProgress("firing", streak=1), day(AboveOne(), START, NO_DATA))

        assert verdict.outcome is RuleOutcome.NOTHING
        assert (verdict.progress.name, verdict.progress.streak) == ("firing", 1)
        assert verdict.progress.lacks_data


class TestFiring:
    def test_says_once_that_it_went_beyond_the_critical_threshold(self) -> None:
        seen = outcomes(AboveOne(), [BAD, TERRIBLE, BAD, TERRIBLE, GOOD, BAD, TERRIBLE])

        assert seen == ["opened", "worsened", "", "", "resolved", "opened", "worsened"]

    def test_says_nothing_of_it_where_it_opened_beyond_it(self) -> None:
        assert outcomes(AboveOne(), [TERRIBLE, TERRIBLE]) == ["opened", ""]

    def test_resolves_only_when_it_is_back_at_the_recovery(self) -> None:
        rule = AboveOne(recover_windows=2, good_at=0.7)

        assert outcomes(rule, [BAD, BETWEEN, BETWEEN, BETWEEN]) == ["opened", "", "", ""]
        assert outcomes(rule, [BAD, GOOD, BETWEEN, GOOD, GOOD])[-1] == "resolved"

    def test_acts_again_only_when_the_cooldown_is_over(self) -> None:
        seen = outcomes(AboveOne(cooldown=3 * DAY), [BAD] * 8)

        assert seen == ["opened", "", "", "still_firing", "", "", "still_firing", ""]

    def test_resolves_after_good_windows_in_a_row(self) -> None:
        seen = outcomes(AboveOne(recover_windows=2), [BAD, GOOD, BAD, GOOD, GOOD])

        assert seen == ["opened", "", "", "", "resolved"]


@given(st.lists(st.sampled_from([GOOD, BAD, NO_DATA]), max_size=40), st.integers(1, 3), st.integers(1, 3))
def test_a_gap_in_the_data_never_resolves(values: list[float | None], opens: int, recovers: int) -> None:
    rule = AboveOne(for_windows=opens, recover_windows=recovers)

    seen = outcomes(rule, values)

    for place, outcome in enumerate(seen):
        if outcome == "resolved":
            observed = [value for value in values[: place + 1] if value is not None][-recovers:]
            assert values[place] == GOOD
            assert observed == [GOOD] * recovers


@given(st.lists(st.sampled_from([GOOD, BAD, NO_DATA]), max_size=40), st.integers(1, 3), st.integers(1, 3))
def test_openings_and_resolutions_alternate(values: list[float | None], opens: int, recovers: int) -> None:
    seen = outcomes(AboveOne(for_windows=opens, recover_windows=recovers), values)

    changes = [outcome for outcome in seen if outcome in ("opened", "resolved")]
    assert changes == ["opened", "resolved"] * (len(changes) // 2) + ["opened"] * (len(changes) % 2)


@st.composite
def rules(draw: st.DrawFn) -> AboveOne:
    n = draw(st.integers(1, 4))
    return AboveOne(
        for_windows=n, of_windows=draw(st.none() | st.integers(n, 7)), recover_windows=draw(st.integers(1, 3)),
        cooldown=draw(st.integers(0, 4)) * DAY, good_at=draw(st.sampled_from([0.7, 1.0])),
        no_data=draw(st.sampled_from(["keep", "alert", "ok"])),
    )  # fmt: skip


@settings(max_examples=MANY)
@given(rules(), st.lists(st.sampled_from([GOOD, BETWEEN, BAD, TERRIBLE, NO_DATA]), max_size=40))
def test_a_rule_does_what_all_its_windows_say(rule: AboveOne, values: list[float | None]) -> None:
    assert outcomes(rule, values) == plainly(rule, values)

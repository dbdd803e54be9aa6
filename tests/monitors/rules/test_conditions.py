"""A rule's standing over windows, against a plain oracle and the promises it makes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitors.rules.conditions import RuleOutcome, RuleProgress, step

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class AboveOne:
    for_windows: int = 1
    recover_windows: int = 1
    min_rows: int = 10
    cooldown: timedelta = 3 * DAY

    def is_breached_by(self, value: float) -> bool:
        return value > 1.0


@dataclass(frozen=True)
class Day:
    end: datetime
    value: float | None
    n: int = 100
    is_proven: bool = False


GOOD, BAD, NO_DATA = 0.5, 2.0, None


def outcomes(rule: AboveOne, values: list[float | None]) -> list[str]:
    progress, seen = RuleProgress(), []
    for number, value in enumerate(values):
        verdict = step(rule, progress, Day(START + number * DAY, value))
        progress = verdict.progress
        seen.append(verdict.outcome.value)
    return seen


class TestOpening:
    def test_opens_at_once_when_one_window_is_enough(self) -> None:
        assert outcomes(AboveOne(), [GOOD, BAD]) == ["", "opened"]

    def test_waits_for_as_many_windows_in_a_row_as_the_rule_asks(self) -> None:
        assert outcomes(AboveOne(for_windows=3), [BAD, BAD, GOOD, BAD, BAD, BAD])[-1] == "opened"
        assert "opened" not in outcomes(AboveOne(for_windows=3), [BAD, BAD, GOOD, BAD, BAD])

    def test_never_opens_on_too_few_rows(self) -> None:
        verdict = step(AboveOne(min_rows=10), RuleProgress(), Day(START, BAD, n=9))

        assert verdict.outcome is RuleOutcome.NOTHING
        assert verdict.progress.name == "normal"

    def test_opens_on_few_rows_where_the_interval_proves_the_breach(self) -> None:
        verdict = step(AboveOne(min_rows=100), RuleProgress(), Day(START, BAD, n=30, is_proven=True))

        assert verdict.outcome is RuleOutcome.OPENED


class TestFiring:
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

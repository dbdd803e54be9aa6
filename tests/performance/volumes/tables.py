"""What streams came to, as numbers and as two tables."""

import statistics
from collections.abc import Sequence
from typing import Any

from tests.performance.volumes.notices import NoticedProblem, names_feature, noticed
from tests.performance.volumes.worlds import BROKEN_FROM, DAYS, FAULTS, VolumeFault

OURS = "driftline"
RIVALS = ("Evidently", "Evidently, any column", "NannyML")
NOTICED_SOON = 21  # days

type Result = dict[str, Any]
"""A stream, its `span`, `incidents` and `rivals`, as `streams.replay_all` yields it."""


# -- numbers -----------------------------------------------------------------------------------------------------------
def opened(result: Result, who: str) -> list[float]:
    """List when somebody's incidents opened, in days since the first day."""
    if who == OURS:
        return [incident["day"] for incident in result["incidents"]]
    days: list[float] = result["rivals"][who]["days"]
    return days


def per_1000_days(results: Sequence[Result], who: str) -> float | None:
    """Count incidents per 1,000 model-days; None of no days."""
    days = sum(result["days"] for result in results)
    return 1_000 * sum(len(opened(result, who)) for result in results) / days if days else None


def first_notice(result: Result, who: str) -> float | None:
    """Return the days from the fault to the first incident about it; None where none opened in time.

    Of a rival, who names neither a rule nor when a problem began, any incident in time is one about it.
    """
    fault = _fault(result)
    days = [one.day for one in _about(result)] if who == OURS else opened(result, who)
    within = [day - BROKEN_FROM for day in days if 0 < day - BROKEN_FROM <= fault.within_days]
    return min(within, default=None)


def names_the_cause(result: Result) -> bool:
    """Tell whether an incident about the fault names the broken feature first or second."""
    return names_feature(result["feature"], _about(result))


def _about(result: Result) -> list[NoticedProblem]:
    return noticed(_fault(result), [NoticedProblem(**incident) for incident in result["incidents"]])


def _fault(result: Result) -> VolumeFault:
    return next(fault for fault in FAULTS if fault.name == result["fault"])


def _flagged(results: Sequence[Result], who: str) -> float | None:
    shares = [result["rivals"][who]["flagged"] for result in results]
    return statistics.mean(shares) if shares else None


def equal_alarms_limit(results: Sequence[Result], who: str) -> float:
    """Return the loudness beyond which a rival flags as many windows of the clean days as ours opened incidents in."""
    clean = [loud for one in results for end, loud in one["rivals"][who]["windows"] if _is_clean(one, end)]
    ours = sum(_is_clean(one, day) for one in results for day in opened(one, OURS))
    return sorted(clean, reverse=True)[ours] if len(clean) > ours else float("-inf")


def notice_beyond(result: Result, who: str, limit: float) -> float | None:
    """Return the days from the fault to the first window in which a rival is louder; None of none in time."""
    within = _fault(result).within_days
    ends = [end - BROKEN_FROM for end, loud in result["rivals"][who]["windows"] if loud > limit]
    return min((days for days in ends if 0 < days <= within), default=None)


def _is_clean(result: Result, day: float) -> bool:
    return not result["fault"] or day <= BROKEN_FROM


# -- tables ------------------------------------------------------------------------------------------------------------
def show(results: Sequence[Result]) -> None:
    """Print false incidents of what is quiet, notices of what is broken, and what it took."""
    volumes = sorted({result["volume"] for result in results})
    if quiet := [result for result in results if not result["fault"]]:
        days = sum(result["days"] for result in quiet) // len(volumes)
        print(f"\n(a) false incidents per 1,000 quiet model-days, of {days:,} a volume (goal: 1)")
        _show_quiet(quiet, volumes)
    if broken := [result for result in results if result["fault"]]:
        print(
            "\n(b) faults: share that is noticed, median days to it, share with the cause among the first two"
        )
        _show_faults(broken, volumes)
    if broken and all(result["rivals"] for result in results):
        print(
            "\n(c) the same, each rival's limit set to as many flags of clean days as ours opened incidents in them"
        )
        _show_at_equal_alarms(results, volumes)
    cpu_s, days = (sum(result[name] for result in results) for name in ("cpu_s", "days"))
    print(f"\n{cpu_s:,.0f} CPU seconds of workers for {days:,} model-days, {1e3 * cpu_s / days:.0f} ms each")


def _show_quiet(quiet: Sequence[Result], volumes: Sequence[int]) -> None:
    _line("rows a day", [f"{volume:,}" for volume in volumes])
    for world in _worlds(quiet):
        of_world = [one for one in quiet if one["world"] == world]
        _line(f"  {world}", [_number(per_1000_days(_at(of_world, v), OURS)) for v in volumes])
    _line("all", [_number(per_1000_days(_at(quiet, v), OURS)) for v in volumes])
    if compared := [one for one in quiet if one["rivals"]]:
        for rival in RIVALS:
            _line(rival, [_number(per_1000_days(_at(compared, v), rival)) for v in volumes])
            _line(
                "  share of windows flagged", [_number(_flagged(_at(compared, v), rival), 2) for v in volumes]
            )
    _line("judged by", ["/".join(sorted({one["span"] for one in _at(quiet, v)})) for v in volumes])


def _show_faults(broken: Sequence[Result], volumes: Sequence[int]) -> None:
    _line("rows a day", [f"{volume:,}" for volume in volumes], 20)
    for fault in FAULTS:
        of_fault = [one for one in broken if one["fault"] == fault.name]
        if of_fault:
            _line(fault.name, [_notices(_at(of_fault, v), OURS) for v in volumes], 20)
        if compared := [one for one in of_fault if one["rivals"]]:
            for rival in RIVALS:
                _line(f"  {rival}", [_notices(_at(compared, v), rival) for v in volumes], 20)


def _show_at_equal_alarms(results: Sequence[Result], volumes: Sequence[int]) -> None:
    """Print a line for each fault; limits are set for each world and volume apart."""
    limits = {
        (rival, world, volume): equal_alarms_limit(
            [one for one in _at(results, volume) if one["world"] == world], rival
        )
        for rival in (RIVALS[1], RIVALS[2])
        for world in _worlds(results)
        for volume in volumes
    }
    false = [
        sum(_is_clean(one, day) for one in _at(results, v) for day in opened(one, OURS)) for v in volumes
    ]
    days = [
        sum(min(one["days"], BROKEN_FROM) if one["fault"] else one["days"] for one in _at(results, v))
        for v in volumes
    ]
    _line(
        "false incidents of clean days",
        [f"{one} of {all_:,}" for one, all_ in zip(false, days, strict=True)],
        20,
    )
    for fault in FAULTS:
        of_fault = [one for one in results if one["fault"] == fault.name]
        _line(
            fault.name, [_shares([first_notice(one, OURS) for one in _at(of_fault, v)]) for v in volumes], 20
        )
        for rival in (RIVALS[1], RIVALS[2]):
            cells = [
                _shares(
                    [notice_beyond(one, rival, limits[rival, one["world"], v]) for one in _at(of_fault, v)]
                )
                for v in volumes
            ]
            _line(f"  {rival.split(',')[0]}", cells, 20)


def _shares(notices: Sequence[float | None]) -> str:
    days = [one for one in notices if one is not None]
    return f"{len(days)} of {len(notices)} {f'{statistics.median(days):.0f} d' if days else '-':>5}"


def _notices(results: Sequence[Result], who: str) -> str:
    if not results:
        return "-"
    notices = [notice for result in results if (notice := first_notice(result, who)) is not None]
    share, delay = len(notices) / len(results), f"{statistics.median(notices):.0f} d" if notices else "-"
    named = (
        f"{sum(names_the_cause(result) for result in results) / len(results):.2f}" if who == OURS else " " * 4
    )
    return f"{share:.2f} {delay:>5} {named}"


def show_fault(fault: str, results: Sequence[Result]) -> None:
    """Print how soon one fault was noticed, world by world, and the incidents that opened before it."""
    print()
    _line(f"{fault}: noticed within", [f"{NOTICED_SOON} days", f"{DAYS - BROKEN_FROM} days", "before it"], 14)
    for volume in sorted({result["volume"] for result in results}):
        of_volume = _at(results, volume)
        for world in [*_worlds(of_volume), "all"]:
            those = [one for one in of_volume if world in ("all", one["world"])]
            notices = [notice for one in those if (notice := first_notice(one, OURS)) is not None]
            soon = sum(notice <= NOTICED_SOON for notice in notices)
            false = sum(day <= BROKEN_FROM for one in those for day in opened(one, OURS))
            cells = [f"{soon} of {len(those)}", f"{len(notices)} of {len(those)}", f"{false}"]
            _line(f"{volume:,} rows, {world}", cells, 14)


def _worlds(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(sorted(one["world"] for one in results)))


def _at(results: Sequence[Result], volume: int) -> list[Result]:
    return [result for result in results if result["volume"] == volume]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _line(name: str, cells: Sequence[str], width: int = 10) -> None:
    print(f"{name:30}" + "".join(f"{cell:>{width}}" for cell in cells))

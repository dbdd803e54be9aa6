"""No test fails because the machine was busy: what a clock shows may be printed, never asserted to be short."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {"monotonic", "perf_counter", "process_time", "monotonic_ns", "perf_counter_ns"}


def reads_clock(node: ast.AST) -> bool:
    """Whether `time.monotonic()` or another clock that measures durations is called within `node`."""
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS
        for call in ast.walk(node)
    )


def short_durations(tree: ast.Module) -> list[int]:
    """The lines on which a duration is asserted to be below something."""
    return [
        compared.lineno
        for asserted in ast.walk(tree)
        if isinstance(asserted, ast.Assert)
        for compared in ast.walk(asserted.test)
        if isinstance(compared, ast.Compare)
        and isinstance(compared.ops[-1], ast.Lt | ast.LtE)
        and any(
            isinstance(side, ast.BinOp) and isinstance(side.op, ast.Sub) and reads_clock(side)
            for side in (compared.left, *compared.comparators[:-1])
        )
    ]


def test_finds_an_asserted_duration() -> None:
    planted = (
        "assert ok\nassert 1 <= time.monotonic() - began < 5\nassert DEADLINE <= time.monotonic() - began"
    )

    assert short_durations(ast.parse(planted)) == [2]


def test_no_test_asserts_that_something_was_quick() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in short_durations(ast.parse(path.read_text()))
    ]

    assert not found

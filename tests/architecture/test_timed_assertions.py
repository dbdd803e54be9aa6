"""No test fails because the machine was busy: what a clock shows may be printed, never asserted to be short."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {"monotonic", "perf_counter", "process_time", "monotonic_ns", "perf_counter_ns"}
UNITS = ("_s", "_ms", "_seconds")


def is_duration(node: ast.AST, measured: set[str]) -> bool:
    """Whether an expression holds a clock's difference, a name that was given one, or a name that ends in its unit."""
    for part in ast.walk(node):
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub) and reads_clock(part):
            return True
        if isinstance(part, ast.Name) and (part.id in measured or part.id.endswith(UNITS)):
            return True
    return False


def reads_clock(node: ast.AST) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS
        for call in ast.walk(node)
    )


def short_durations(tree: ast.Module) -> list[int]:
    """The lines on which a duration is asserted to be below a number."""
    measured = {
        target.id
        for assigned in ast.walk(tree)
        if isinstance(assigned, ast.Assign) and is_duration(assigned.value, set())
        for target in assigned.targets
        if isinstance(target, ast.Name)
    }
    return [
        compared.lineno
        for asserted in ast.walk(tree)
        if isinstance(asserted, ast.Assert)
        for compared in ast.walk(asserted.test)
        if isinstance(compared, ast.Compare)
        and isinstance(compared.ops[-1], ast.Lt | ast.LtE)
        and isinstance(compared.comparators[-1], ast.Constant | ast.BinOp)
        and any(is_duration(side, measured) for side in (compared.left, *compared.comparators[:-1]))
    ]


def test_finds_an_asserted_duration() -> None:
    planted = """
assert ok
assert 1 <= time.monotonic() - began < 5
took = time.monotonic() - began
assert took < 5
assert max(logged_s, labelled_s) < 10
assert DEADLINE <= time.monotonic() - began
assert took > 0
"""

    assert short_durations(ast.parse(planted)) == [3, 5, 6]


@pytest.mark.slow
def test_no_test_asserts_that_something_was_quick() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in short_durations(ast.parse(path.read_text()))
    ]

    assert not found

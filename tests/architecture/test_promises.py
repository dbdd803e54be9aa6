"""Each promise of docs/architecture/promises.md has a test in `make test`, or its line says why it is slow."""

import re
from pathlib import Path

import pytest

from tests.tiers import OF_OTHER_TIERS

CHECKOUT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (CHECKOUT / "docs/architecture/promises.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| promise |")
]


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> list[str]:
    """The tests of `make test`, of which this one has to be run among all."""
    asked = {Path(argument).resolve() for argument in request.config.args}
    if asked != {CHECKOUT / "tests"} or request.config.option.keyword:
        pytest.skip("only a run of all tests knows which of them are quick")
    return [
        item.nodeid
        for item in request.session.items
        if not any(mark.name in OF_OTHER_TIERS for mark in item.iter_markers())
    ]


@pytest.mark.parametrize(("promise", "proof"), ROWS, ids=[promise[:60] for promise, _ in ROWS])
def test_names_tests_that_exist(promise: str, proof: str) -> None:
    named = re.findall(r"`(tests/[^`]+)`", proof)

    assert named
    for name in named:
        path, *parts = name.split("::")
        assert (CHECKOUT / path).exists(), name
        assert all(f"class {part}" in (CHECKOUT / path).read_text() for part in parts), name


def test_has_a_test_in_make_test_or_says_why_it_is_slow(quick: list[str]) -> None:
    def is_quick(proof: str) -> bool:
        names = tuple(re.findall(r"`(tests/[^`]+)`", proof))
        return any(test.startswith(names) for test in quick)

    assert [promise for promise, proof in ROWS if is_quick(proof) == ("Slow: " in proof)] == []

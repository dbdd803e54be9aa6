"""Memory stays where it is; `python -m tests.performance.memory_bench` is the same measurement."""

from pathlib import Path

import pytest

from tests.performance.memory_bench import SIZES, measure

RUNS, RELOADS = 1_000_000, 200


@pytest.mark.e2e
def test_stays_within_a_tenth_over_a_million_runs_of_many_sizes_and_two_hundred_reloads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measure(tmp_path, RUNS, RELOADS)

    with capsys.disabled():
        print(f"\n  {found.describe()} ", end="", flush=True)
    assert (found.batch_sizes, found.champions) == (SIZES, RELOADS)
    assert found.single_row_runs >= RUNS
    assert found.end <= found.warm * 1.1

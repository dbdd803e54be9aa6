"""Each run of the suite draws examples of its own for the property tests, which its printed seed repeats."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.core
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PRINT_SETTINGS = """
import hypothesis, tests.conftest
settings = hypothesis.settings()
print(settings.derandomize, settings.print_blob)
"""


class TestPropertyTests:
    def test_draw_new_examples_in_continuous_integration_and_say_how_to_repeat_one(self) -> None:
        shown = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PRINT_SETTINGS],
            cwd=CHECKOUT,
            env={**os.environ, "CI": "true"},
            capture_output=True,
            text=True,
            check=True,
        )

        assert shown.stdout.split() == ["False", "True"]

    def test_draw_from_the_seed_that_the_run_prints(self, pytestconfig: pytest.Config) -> None:
        given = pytestconfig.getoption("--hypothesis-seed")
        printed = pytestconfig.getoption("randomly_seed") if given is None else int(given)

        assert hypothesis.core.global_force_seed == printed

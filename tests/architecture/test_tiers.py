"""A test that starts a process is slow, whether its code says so or only running it shows it."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SETTINGS = "[pytest]\nmarkers =\n    slow\n    cheap_process\n"
TESTS = """
import os
import subprocess

import pytest


def begin():
    return subprocess.Popen(["true"]).wait()


@pytest.fixture
def begun():
    return begin()


def test_by_a_helper():
    assert begin() == 0


def test_by_a_fixture(begun):
    assert begun == 0


def test_unseen():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


@pytest.mark.cheap_process("true")
def test_allowed():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def test_quick():
    assert os.getpid()
"""


def test_what_starts_a_process_is_slow_or_fails(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "test_starts.py").write_text(TESTS)
    options = ["-p", "tests.tiers", "-p", "no:django", "-p", "no:randomly", "-m", "not slow", "-rA"]

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 2 passed, 2 deselected" in ended.stdout
    assert "test_starts.py::test_unseen starts a process (os.posix_spawn): mark it slow" in ended.stdout

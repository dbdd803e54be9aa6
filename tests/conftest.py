"""What every test shares: a home for the session, and a database and a broker started when first needed."""

import gc
import os
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import hypothesis
import hypothesis.core
import pytest

from tests import tiers
from tests.embedded import CHECKOUT, start_services, start_template, stop_services, wait_for_template
from tests.tools import HAS_TOOLS

REPORTED = "reported"
"""The name under which a test notes a line that the run prints at its end."""

# They import Playwright.
collect_ignore = [] if HAS_TOOLS else ["browser", "sso/test_saml.py"]

# Threads of one test that wait for each other, spinning, take the processors from the tests beside it.
for library in ("OMP", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# No deadline: a busy machine is no failure. Where CI is set, Hypothesis would draw the same examples in every run.
hypothesis.settings.register_profile("driftline", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("driftline"), max_examples=25)
hypothesis.settings.load_profile("driftline")


def pytest_configure(config: pytest.Config) -> None:
    """With pytest-xdist the controller owns the services: they outlive the worker that needs them first."""
    if getattr(config.option, "dist", "no") != "no" and not config.option.collectonly:
        start_services()
        start_template()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Draw the examples of property tests from the seed of the run's order, a new one each time, which pytest prints.

    `--randomly-seed=N` with the printed number then repeats the order and the examples.
    """
    seed = session.config.getoption("randomly_seed", None)
    if isinstance(seed, int) and session.config.getoption("--hypothesis-seed") is None:
        hypothesis.core.global_force_seed = seed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run a worker a processor, and one more where slow tests run: they wait for processes and servers."""
    return (os.cpu_count() or 1) + (0 if "not slow" in config.option.markexpr else 1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what would begin after `DRIFTLINE_TEST_UNTIL`, seconds since 1970, so that a slow machine ends in time."""
    until = os.environ.get("DRIFTLINE_TEST_UNTIL")
    if until is not None and time.time() > float(until):
        pytest.skip(f"the time of this run is over for {item.nodeid}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from looking at all modules and tests again and again: they stay."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests reported, such as how many rows were acknowledged and stored."""
    for report in chain(*(terminalreporter.getreports(outcome) for outcome in ("passed", "failed"))):
        lines = [str(line) for name, line in report.user_properties if name == REPORTED]
        if report.when == "call" and lines:
            terminalreporter.write_line("\n  ".join([report.nodeid, *lines]))


def pytest_unconfigure(config: pytest.Config) -> None:
    stop_services()


@pytest.fixture(scope="session")
def services() -> None:
    """Have the session's database server and broker run."""
    start_services()
    start_template()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services: None, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the database server before pytest-django makes this worker's test database on it, as a copy if it can."""
    from django.db import connection

    if wait_for_template():
        connection.settings_dict["TEST"]["TEMPLATE"] = connection.settings_dict["NAME"]


@pytest.fixture(scope="session", autouse=True)
def empty_and_drop_databases() -> Iterator[None]:
    """Have `transaction=True` tests empty the database, and the session drop it, by `tests.emptying`."""
    from django.db.backends.base.creation import BaseDatabaseCreation
    from django.test import TransactionTestCase

    from tests.emptying import delete_all_rows, drop_database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: delete_all_rows())
        patch.setattr(BaseDatabaseCreation, "_destroy_test_db", drop_database)
        yield


@pytest.fixture(scope="session", autouse=True)
def compute_once() -> Iterator[None]:
    """Have what is drawn and learnt of a reference, and found in an uploaded model, computed once a run."""
    from inference.registry.intake import launcher
    from monitors.metrics.references import loaded, nulls
    from tests.once import draw_once, examine_here, examine_once, prepare_once

    folder = Path(os.environ["DRIFTLINE_TEST_HOME"])
    behind_walls = examine_once(launcher._ask_child, folder / "examinations")
    here = examine_once(examine_here, folder / "examinations-here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nulls, "_draw", draw_once(nulls._draw, folder / "draws"))
        patch.setattr(loaded, "prepare_estimator", prepare_once(loaded.prepare_estimator))
        patch.setattr(
            launcher,
            "_ask_child",
            lambda *asked: here(*asked) if tiers.runs_quick_test() else behind_walls(*asked),
        )
        yield


@pytest.fixture(autouse=True)
def forget_the_audit_trail() -> Iterator[None]:
    """Forget the newest entry that the home knew: the database that held it is rolled back or emptied."""
    from django.conf import settings

    from driftline.base.accounts.audit.chain import anchor_path

    yield
    anchor_path(settings.HOME).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def broker_url(services: None) -> str:
    """The URL of the session's broker; its queues are shared, so name yours after the test."""
    from django.conf import settings

    return str(settings.CELERY_BROKER_URL)


@pytest.fixture(scope="session")
def client_environment() -> Path:
    """The folder of the foreign clients' environment, made where it is not there yet."""
    subprocess.run([CHECKOUT / ".ci/clients"], check=True, timeout=600)
    return CHECKOUT / ".venv-clients"

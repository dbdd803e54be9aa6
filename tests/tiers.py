"""Which tests are slow, by what they use: `make test` runs what costs little, `make test-slow` what is marked `slow`.

A test that starts or kills a process is slow, and fails where no mark says so. A fixture below `starts_processes` marks
each test that uses it. Loaded as a pytest plugin (`-p tests.tiers`).
"""

import ast
import inspect
import multiprocessing.util
import os
import re
import resource
import shlex
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

OF_OTHER_TIERS = {
    "slow", "e2e", "browser", "installation", "upstreams", "orchestrators", "streams", "sso", "image",
}  # fmt: skip
"""The marks of tests that `make test` leaves out."""
MAY_START = {*OF_OTHER_TIERS, "cheap_process"}
WRITTEN = {*OF_OTHER_TIERS, "broker"} - {"slow"}
"""The marks that a test has only where its file says so."""
MANY_SECONDS = 2.0
"""The processor time above which the summary names a test that is not slow."""

_MODULE_MARKS = re.compile(r"^pytestmark = (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"pytest\.mark\.(\w+)")
_RUNNERS = {"Popen", "run", "call", "check_call", "check_output"}


def starts_processes[Function: Callable[..., Any]](function: Function) -> Function:
    """Mark a fixture or a helper of tests that starts processes or trains a model: what uses it is slow.

    Above a fixture's function it stands below `pytest.fixture`. One whose code names `subprocess` needs no mark.
    """
    function.starts_processes = True  # type: ignore[attr-defined]
    return function


def serves_all_tests[Function: Callable[..., Any]](function: Function) -> Function:
    """Mark a helper that starts what all tests share, such as the database: what uses it is not slow for that."""
    function.starts_processes = False  # type: ignore[attr-defined]
    return function


def _starts(function: Any, known: dict[Any, bool]) -> bool:
    """Whether a function or class of the tests starts processes, itself or by another one that its code names."""
    if function not in known:
        known[function] = False  # as long as it is asked about: functions may name each other
        marked = getattr(function, "starts_processes", None)
        if marked is None:
            codes = vars(function).values() if inspect.isclass(function) else [inspect.unwrap(function)]
            marked = any(_names_a_start(one, known) for one in codes if inspect.isfunction(one))
        known[function] = marked
    return known[function]


def _names_a_start(function: FunctionType, known: dict[Any, bool]) -> bool:
    names = set(_names(function.__code__))
    if ("subprocess" in names and names & _RUNNERS) or {"os", "fork"} <= names:
        return True
    named = [function.__globals__.get(name) for name in names]
    ours = [
        one
        for one in named
        if str(getattr(one, "__module__", "")).startswith(("tests.", function.__module__))
    ]
    return any(_starts(one, known) for one in ours if inspect.isfunction(one) or inspect.isclass(one))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


# ---- collection


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file, without loading it, of which the run's `-m` wants no test."""
    required, excluded = _terms(config.option.markexpr)
    is_test_file = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    named = {config.invocation_params.dir / argument.split("::")[0] for argument in config.args}
    if not (required or excluded) or not is_test_file or collection_path in named:
        return None
    text = collection_path.read_text()
    of_module = _MODULE_MARKS.search(text)
    has_none = any(f"mark.{mark}" not in text for mark in required)
    return True if has_none or (of_module and excluded & set(_MARK.findall(of_module[1]))) else None


@cache
def _terms(expression: str) -> tuple[set[str], set[str]]:
    """Return the marks that each test must have, of those that stand in its file, and those that none may have.

    `e2e and not slow` requires one and excludes the other; `slow or broker` requires none.
    """
    whole = ast.parse(expression or "all", mode="eval").body
    terms = whole.values if isinstance(whole, ast.BoolOp) and isinstance(whole.op, ast.And) else [whole]
    required = {term.id for term in terms if isinstance(term, ast.Name)}
    negated = [
        term.operand for term in terms if isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.Not)
    ]
    return required & WRITTEN, {mark.id for mark in negated if isinstance(mark, ast.Name)}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts processes by its code, its helpers and its fixtures, before `-m` chooses."""
    known: dict[Any, bool] = {}
    for item in items:
        if isinstance(item, pytest.Function) and not may_start(item):
            fixtures = [found[-1].func for found in item._fixtureinfo.name2fixturedefs.values()]
            if any(_starts(getattr(one, "__func__", one), known) for one in (item.function, *fixtures)):
                item.add_marker(pytest.mark.slow)


# ---- what a test uses

_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}
_KILLS = {"os.kill", "os.killpg"}
_watched = False
_seen: list[str] = []
_began = pytest.StashKey[float]()
_COST = "processor seconds"


def _audit(event: str, args: Sequence[Any]) -> None:
    if not _watched:
        return
    if event in _STARTS:
        _seen.append(f"starts a process ({_command(args[1]) if event == 'subprocess.Popen' else event})")
    elif event in _KILLS and args[1] and args[0] != os.getpid():
        _seen.append("kills a process")


def _command(arguments: Any) -> str:
    if isinstance(arguments, str | bytes | os.PathLike):
        return os.fsdecode(arguments)[:100]
    return shlex.join(os.fsdecode(argument) for argument in arguments)[:100]


def _spawn_seen(spawn: Callable[..., int]) -> Callable[..., int]:
    def spawn_and_note(path: Any, arguments: Any, handles: Any) -> int:
        if _watched:
            _seen.append("starts a process (multiprocessing)")
        return spawn(path, arguments, handles)

    return spawn_and_note


sys.addaudithook(_audit)
multiprocessing.util.spawnv_passfds = _spawn_seen(multiprocessing.util.spawnv_passfds)  # it raises no event


@contextmanager
def started_for_all_tests() -> Iterator[None]:
    """Start within what a test does not answer for, such as the database of all tests."""
    global _watched
    watched, _watched = _watched, False
    try:
        yield
    finally:
        _watched = watched


def runs_quick_test() -> bool:
    """Whether a test runs now that may start no process."""
    return _watched


def may_start(item: pytest.Item) -> bool:
    """Whether the marks of a test allow it to start processes."""
    return any(mark.name in MAY_START for mark in item.iter_markers())


def _watch(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the setup or the call of an unmarked test in which a process was started or killed.

    The teardown of the last test also ends what fixtures of the session started, which is not of that test.
    """
    global _watched
    _seen.clear()
    _watched = not may_start(item)
    try:
        result = yield
    finally:
        _watched = False
    if _seen:
        pytest.fail(
            f"{item.nodeid} {_seen[0]}: mark it slow, or the fixture that does it (docs/CONTRIBUTING.md, Which tier)",
            pytrace=False,
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _watch(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _watch(item))


# ---- what a test costs

_costly: list[tuple[float, str]] = []


def _processor_time() -> float:
    """Return the processor time of this process and of its children that ended, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    item.stash[_began] = _processor_time()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the cost of an unmarked test into its last report, which pytest-xdist brings to the controller."""
    report = yield
    if call.when == "teardown" and not may_start(item):
        report.user_properties.append((_COST, _processor_time() - item.stash[_began]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _costly.extend(
        (float(value), report.nodeid)  # type: ignore[arg-type]
        for name, value in report.user_properties
        if name == _COST and report.when == "teardown" and float(value) > MANY_SECONDS  # type: ignore[arg-type]
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the unmarked tests that took much processor time; .ci/run repeats these lines in its summary."""
    for seconds, test in sorted(_costly, reverse=True):
        terminalreporter.write_line(f"not marked slow: {seconds:.1f} s of processor time: {test}")

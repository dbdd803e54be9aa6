"""A model in a process of its own answers as it would in this one, and harms nobody else."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from inference.protocol.v2.tensors import NUMPY_TYPES
from inference.runtime.isolated import areas, slot
from inference.runtime.isolated.areas import TooLarge
from inference.runtime.isolated.errors import ModelFailed, ModelProcessFailed, RunAbandoned
from inference.runtime.isolated.limits import IsolationLimits
from inference.runtime.isolated.processes import CannotFork, ModelProcesses
from inference.runtime.isolated.session import IsolatedSession
from inference.runtime.session import Array, ModelRefused, OnnxSession, time_limit
from tests.inference.onnx_models import (
    ONNX_TYPES,
    echoing_model,
    failing_model,
    identity_model,
    looping_model,
    quadratic_model,
    summing_model,
    wordy_model,
)
from tests.inference.runtime.isolated.conftest import Opens, sizes
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow

ENDLESS = 400_000  # boxes: minutes
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
THREE = {"X": np.ones((1, 3), np.float32)}


@st.composite
def batches(draw: Callable[..., Any]) -> dict[str, Array]:
    """Draw rows of every datatype."""
    rows = draw(st.integers(1, 4))
    batch: dict[str, Array] = {
        name.lower(): draw(arrays_of.arrays(dtype, (rows, 1))) for name, dtype in NUMPY_TYPES.items()
    }
    return {**batch, "bytes": draw(arrays_of.arrays(object, (rows, 1), elements=TEXT))}


def pid_of(session: IsolatedSession) -> int:
    process = session._slot.process
    assert process is not None
    return process.pid


def begin(session: IsolatedSession, inputs: dict[str, Array], outputs: list[str]) -> "list[Any]":
    """Run in a thread; what it gave or raised is in the list once it has ended."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(session.run(inputs, outputs))
        except Exception as error:
            ended.append(error)

    threading.Thread(target=run, daemon=True).start()
    wait_until(lambda: ended or is_at_work(session))
    return ended


def is_at_work(session: IsolatedSession) -> bool:
    process = session._slot.process
    return process is not None and process.is_at_work


class TestAnswers:
    def test_are_those_of_a_session_in_this_process(self, open_session: Opens) -> None:
        names = [f"same_{name.lower()}" for name in ONNX_TYPES]
        example: dict[str, Array] = {
            name.lower(): np.zeros((1, 1), dtype) for name, dtype in NUMPY_TYPES.items()
        }
        example["bytes"] = np.array([[""]], object)
        isolated, inside = (
            open_session(identity_model(), example, *names),
            OnnxSession(identity_model()),
        )

        @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(batches())
        def compare(batch: dict[str, Array]) -> None:
            for mine, expected in zip(isolated.run(batch, names), inside.run(batch, names), strict=True):
                assert (mine.dtype, mine.shape) == (expected.dtype, expected.shape)
                np.testing.assert_array_equal(mine, expected)

        compare()

    def test_are_equal_for_no_rows_for_many_and_for_few_again(self, open_session: Opens) -> None:
        isolated, inside = open_session(summing_model(3), THREE, "sum"), OnnxSession(summing_model(3))

        for rows in (1, 0, 600_000, 2):
            batch: dict[str, Array] = {"X": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)}
            np.testing.assert_array_equal(isolated.run(batch, ["sum"])[0], inside.run(batch, ["sum"])[0])

    def test_are_equal_for_long_texts_and_for_outputs_in_another_order(self, open_session: Opens) -> None:
        texts = np.array([["ä" * 400_000], [""], ["x"]], object)
        batch: dict[str, Array] = {"amount": np.ones((3, 1), np.float32), "carrier": texts}
        isolated = open_session(echoing_model(), batch, "number", "text")

        text, number = isolated.run(batch, ["text", "number"])

        assert text.tolist() == texts.tolist()
        assert number.tolist() == [[1.0], [1.0], [1.0]]

    def test_fail_in_the_same_words(self, open_session: Opens) -> None:
        isolated, inside = open_session(failing_model(3), THREE, "sum"), OnnxSession(failing_model(3))
        batch = {"X": np.array([[-1, 0, 0]], np.float32)}
        with pytest.raises(Exception, match="indices element out of data bounds") as expected:
            inside.run(batch, ["sum"])

        with pytest.raises(ModelFailed) as failure:
            isolated.run(batch, ["sum"])

        assert str(failure.value) == str(expected.value)
        assert isolated.run(THREE, ["sum"])[0].tolist() == [[3.0]]

    def test_of_no_model_are_refused(self, open_session: Opens) -> None:
        with pytest.raises(ModelRefused, match="ONNX Runtime cannot load the model"):
            open_session(b"no model", THREE, "sum")

    def test_larger_than_a_run_may_have_fail_that_run_alone(
        self, open_session: Opens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example: dict[str, Array] = {
            "amount": np.ones((1, 1), np.float32),
            "carrier": np.array([["a"]], object),
        }
        isolated = open_session(echoing_model(), example, "number", "text")
        monkeypatch.setattr(areas, "MAX_AREA_BYTES", 1 << 20)

        def ask(length: int) -> Array:
            return isolated.run({**example, "carrier": np.array([["x" * length]], object)}, ["text"])[0]

        with pytest.raises(TooLarge, match="send fewer rows"):
            ask(2_000_000)
        assert ask(3).tolist() == [["xxx"]]


class TestHarm:
    def test_a_run_that_never_ends_costs_the_model_its_process(
        self, open_session: Opens, processes: ModelProcesses, blamed: list[str]
    ) -> None:
        """One kernel whose work is the square of an input value, which ONNX Runtime cannot end."""
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        processes.limits = IsolationLimits(run_seconds=0.3)
        pid = pid_of(isolated)

        with pytest.raises(ModelProcessFailed, match="did not end"):
            isolated.run(sizes(ENDLESS), ["sum"])

        wait_until(lambda: blamed)
        assert blamed == ["did not end a run"]
        assert not is_running(pid)
        wait_until(lambda: isolated.refusal() is None)
        assert isolated.run(sizes(1), ["sum"])[0].tolist() == [[4.0]]

    def test_a_run_that_nobody_waits_for_any_more_is_ended_as_well(
        self, open_session: Opens, processes: ModelProcesses, blamed: list[str]
    ) -> None:
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        processes.limits = IsolationLimits(run_seconds=2.0)

        with time_limit(0.5) as options, pytest.raises(RunAbandoned):
            isolated.run(sizes(ENDLESS), ["sum"], options)

        wait_until(lambda: blamed)
        assert blamed == ["did not end a run"]

    def test_nobody_is_let_wait_for_a_run_that_takes_very_long(
        self, open_session: Opens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        assert isolated.refusal() is None

        monkeypatch.setattr(slot, "BUSY_SECONDS", 0.0)
        begin(isolated, sizes(ENDLESS), ["sum"])

        failure = isolated.refusal()
        assert failure is not None
        assert (failure.status, failure.retry_s) == (503, 5.0)

    def test_a_run_that_can_be_ended_costs_it_nothing(self, open_session: Opens, blamed: list[str]) -> None:
        isolated = open_session(looping_model(3), THREE, "sum")
        pid = pid_of(isolated)

        with time_limit(0.05) as options, pytest.raises(ModelFailed):
            isolated.run({"X": np.array([[-1, 0, 0]], np.float32)}, ["sum"], options)

        assert isolated.run(THREE, ["sum"])[0].tolist() == [[3.0]]
        assert (pid_of(isolated), blamed) == (pid, [])

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
    def test_a_death_at_work_is_blamed_on_the_version(
        self, open_session: Opens, blamed: list[str], number: signal.Signals
    ) -> None:
        """A native crash, or the kernel that ends it for its memory."""
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        ended = begin(isolated, sizes(ENDLESS), ["sum"])

        os.kill(pid_of(isolated), number)

        wait_until(lambda: ended and blamed)
        assert isinstance(ended[0], ModelProcessFailed)
        assert (ended[0].status, ended[0].retry_s) == (503, 1.0)
        assert blamed == [f"ended its process ({number.name})"]

    def test_a_death_while_it_is_idle_is_nobodys_fault(self, open_session: Opens, blamed: list[str]) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")
        process = isolated._slot.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: isolated._slot.process is not process or process.has_ended())

        assert isolated.run(THREE, ["sum"])[0].tolist() == [[3.0]]
        assert blamed == []

    def test_texts_without_end_fail_within_the_memory_of_the_process(
        self, open_session: Opens, processes: ModelProcesses
    ) -> None:
        """Texts lie outside the arena that bounds all other values.

        ONNX Runtime says so where it finds the memory to; else it ends the process.
        """
        processes.limits = IsolationLimits(memory_bytes=300 << 20)
        isolated = open_session(wordy_model(), sizes(1), "sum")

        with pytest.raises((ModelFailed, ModelProcessFailed), match=r"more memory than|ended before it had"):
            isolated.run(sizes(2_000_000), ["sum"])

        wait_until(lambda: isolated.refusal() is None)
        assert isolated.run(sizes(1), ["sum"])[0].tolist() == [[2.0]]

    def test_what_failed_for_memory_keeps_none(self, open_session: Opens, processes: ModelProcesses) -> None:
        """Its process kept 3 GB until nobody had used it for ten minutes."""
        processes.limits = IsolationLimits(memory_bytes=600 << 20)
        isolated = open_session(wordy_model(), sizes(1), "sum")
        pid = pid_of(isolated)

        with pytest.raises((ModelFailed, ModelProcessFailed)):
            isolated.run(sizes(4_000_000), ["sum"])

        wait_until(lambda: not is_running(pid))

    def test_its_process_is_the_first_that_the_kernel_ends_and_leaves_no_core(
        self, open_session: Opens
    ) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")
        proc = Path(f"/proc/{pid_of(isolated)}")

        assert proc.joinpath("oom_score_adj").read_text().strip() == "1000"
        assert "Max core file size        0                    0" in proc.joinpath("limits").read_text()
        assert b"DRIFTLINE" not in proc.joinpath("environ").read_bytes()


class TestProcesses:
    def test_end_with_their_session(self, open_session: Opens) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")
        pid = pid_of(isolated)

        del isolated
        gc.collect()

        wait_until(lambda: not is_running(pid))

    def test_that_are_idle_stop_until_they_are_needed(
        self, open_session: Opens, processes: ModelProcesses
    ) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")
        pid = pid_of(isolated)
        processes.limits = IsolationLimits(idle_seconds=0.0)

        wait_until(lambda: not is_running(pid))
        processes.limits = IsolationLimits()

        assert isolated.run(THREE, ["sum"])[0].tolist() == [[3.0]]

    def test_are_no_more_than_there_may_be(self, open_session: Opens, processes: ModelProcesses) -> None:
        sessions = [open_session(summing_model(3), THREE, "sum") for _ in range(3)]
        oldest, *others = [pid_of(session) for session in sessions]
        processes.limits = IsolationLimits(max_processes=2)

        wait_until(lambda: not is_running(oldest))

        assert all(is_running(pid) for pid in others)

    def test_hold_no_more_memory_together_than_they_may(
        self, open_session: Opens, processes: ModelProcesses
    ) -> None:
        """Each had its bound, and all together none."""
        sessions = [open_session(summing_model(3), THREE, "sum") for _ in range(2)]
        pids = [pid_of(session) for session in sessions]
        processes.limits = IsolationLimits(total_bytes=1)

        with pytest.raises(CannotFork, match="those of all models hold 0 MiB"):
            processes.launch(1)
        wait_until(lambda: not any(is_running(pid) for pid in pids))

    def test_leave_nothing_behind(self) -> None:
        """Handles, processes and shared memory: all are looked at before and after."""
        gc.collect()
        wait_until(lambda: "/memfd:driftline-model" not in handles())
        before = handles()
        processes = ModelProcesses()
        sessions = [
            IsolatedSession(lambda: summing_model(3), "cpu", THREE, ["sum"], processes=processes)
            for _ in range(2)
        ]
        pids = [pid_of(session) for session in sessions]
        for session in sessions:
            session.run(THREE, ["sum"])

        processes.close()

        assert not any(is_running(pid) for pid in pids)
        assert handles() <= before

    def test_end_when_their_fork_server_does_and_are_started_anew_without_blame(
        self, blamed: list[str]
    ) -> None:
        processes = ModelProcesses()
        isolated = IsolatedSession(
            lambda: quadratic_model(), "cpu", sizes(1), ["sum"], blame=blamed.append, processes=processes
        )
        ended = begin(isolated, sizes(ENDLESS), ["sum"])
        assert processes._server is not None

        processes._server._process.kill()

        wait_until(lambda: ended)
        assert isinstance(ended[0], ModelProcessFailed)
        wait_until(lambda: isolated.refusal() is None)
        assert isolated.run(sizes(1), ["sum"])[0].tolist() == [[4.0]]
        assert blamed == []
        processes.close()


def handles() -> set[str]:
    """Name what this process has open: every socket, and the memory shared with models."""
    found = set()
    for handle in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{handle}"))
    shared = {name for name in Path("/proc/self/maps").read_text().split() if "driftline-model" in name}
    return {name for name in found if name.startswith("socket:") or "driftline-model" in name} | shared


class TestLoop:
    """Runs for which an event loop does not wait."""

    def test_answer_in_the_loop(self, open_session: Opens) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")

        async def ask_twice() -> list[Any]:
            return [await ask(isolated, THREE) for _ in range(2)]

        assert [answer[0].tolist() for answer in asyncio.run(ask_twice())] == [[[3.0]], [[3.0]]]

    def test_take_turns_with_threads(self, open_session: Opens) -> None:
        isolated = open_session(summing_model(3), THREE, "sum")

        async def ask_both_ways() -> list[float]:
            loop = asyncio.get_running_loop()
            found = []
            for _ in range(20):
                found.append((await ask(isolated, THREE))[0].item())
                [total] = await loop.run_in_executor(None, isolated.run, THREE, ["sum"])
                found.append(total.item())
            return found

        assert asyncio.run(ask_both_ways()) == [3.0] * 40

    def test_are_not_begun_while_a_thread_has_one_under_way(self, open_session: Opens) -> None:
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        begin(isolated, sizes(ENDLESS), ["sum"])

        assert not isolated.try_acquire()

    def test_without_end_are_answered_while_the_loop_goes_on(
        self, open_session: Opens, processes: ModelProcesses, blamed: list[str]
    ) -> None:
        isolated = open_session(quadratic_model(), sizes(1), "sum")
        processes.limits = IsolationLimits(run_seconds=0.5)

        async def ask_in_vain() -> tuple[Any, int]:
            turns = 0
            asked = asyncio.ensure_future(ask(isolated, sizes(ENDLESS)))
            while not asked.done() or not blamed:  # the loop closes its end of the process before the blame
                await asyncio.sleep(0)
                turns += 1
            return asked.result(), turns

        answer, turns = asyncio.run(ask_in_vain())

        assert isinstance(answer, ModelProcessFailed)
        assert turns > 100

    def test_past_their_time_are_abandoned_and_do_not_harm_the_version(
        self, open_session: Opens, blamed: list[str]
    ) -> None:
        isolated = open_session(looping_model(3), THREE, "sum")

        async def ask_in_vain() -> Any:
            return await ask(isolated, {"X": np.array([[-1, 0, 0]], np.float32)}, 0.05)

        assert isinstance(asyncio.run(ask_in_vain()), RunAbandoned)
        assert isolated.run(THREE, ["sum"])[0].tolist() == [[3.0]]
        assert blamed == []


async def ask(session: IsolatedSession, inputs: dict[str, Array], seconds: float = 30.0) -> Any:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Any] = loop.create_future()
    assert session.try_acquire()
    session.begin(inputs, seconds, answered.set_result)
    return await answered

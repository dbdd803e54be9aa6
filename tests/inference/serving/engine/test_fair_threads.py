"""Threads in turns by project."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from inference.serving.engine.fair_threads import MAX_REPLACED, FairThreads, WorkHangs
from inference.serving.engine.rotation import Rotation


def run[Result](use: Callable[[FairThreads], Awaitable[Result]], threads: int = 2) -> Result:
    async def in_loop() -> Result:
        return await asyncio.wait_for(use(FairThreads(threads)), 20)

    return asyncio.run(in_loop())


class TestRotation:
    def test_serves_projects_in_turn_and_each_in_order(self) -> None:
        rotation: Rotation[str] = Rotation()
        for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
            rotation.push(ord(item[0]), item)

        served = []
        while rotation:
            served.append(rotation.pop())

        assert served == ["a1", "b1", "c1", "a2", "b2", "a3"]


class TestTurn:
    def test_leaves_a_thread_for_others_however_much_a_project_asks(self) -> None:
        async def use(threads: FairThreads) -> list[str]:
            released = threading.Event()
            order: list[str] = []

            async def hog() -> None:
                async with threads.turn(1) as worker:
                    await worker.run(released.wait)
                    order.append("hog")

            async def guest() -> None:
                async with threads.turn(2) as worker:
                    await worker.run(lambda: None)
                    order.append("guest")
                released.set()

            await asyncio.gather(*(hog() for _ in range(5)), guest())
            return order

        assert run(use)[0] == "guest"

    def test_comes_to_each_project_in_turn_and_to_the_urgent_first(self) -> None:
        async def use(threads: FairThreads) -> list[str]:
            order: list[str] = []

            async def work(project_id: int, name: str, delay_ns: int = 0) -> None:
                async with threads.turn(project_id, delay_ns) as worker:
                    order.append(name)
                    await worker.run(lambda: None)

            await asyncio.gather(
                work(1, "first"), work(1, "a late", 10**12), work(1, "a"), work(2, "b"), work(2, "b again")
            )
            return order

        assert run(use, threads=1) == ["first", "a", "b", "a late", "b again"]

    def test_tells_how_much_a_project_can_count_on(self) -> None:
        async def use(threads: FairThreads) -> list[tuple[float, bool]]:
            released = threading.Event()

            async def work(project_id: int) -> None:
                async with threads.turn(project_id) as worker:
                    await worker.run(released.wait)

            seen = [(threads.parallel(1), threads.is_full_for(1))]
            tasks = [asyncio.ensure_future(work(project_id)) for project_id in (1, 1, 2, 3, 4)]
            await asyncio.sleep(0)
            seen += [(threads.parallel(project_id), threads.is_full_for(project_id)) for project_id in (1, 2)]
            released.set()
            await asyncio.gather(*tasks)
            return seen

        assert run(use, threads=4) == [(2, False), (1, True), (1, False)]

    def test_gives_up_a_thread_that_hangs_and_goes_on_with_another(self) -> None:
        released = threading.Event()

        async def use(threads: FairThreads) -> tuple[int, str, bool]:
            with pytest.raises(WorkHangs):
                async with threads.turn(1) as worker:
                    await worker.run(released.wait, 0.01)
            async with threads.turn(1) as worker:
                answer = await worker.run(lambda: "alive")
            return threads.given_up, answer, threads.close()

        assert run(use) == (1, "alive", False)
        released.set()

    def test_counts_a_thread_back_whose_work_ends_after_all(self) -> None:
        async def use(threads: FairThreads) -> tuple[list[int], list[str], bool]:
            released = threading.Event()
            for _ in range(2 * MAX_REPLACED):
                with contextlib.suppress(WorkHangs):
                    async with threads.turn(1) as worker:
                        await worker.run(released.wait, 0.001)
            counts = [threads.given_up]
            released.set()
            while threads.given_up:
                await asyncio.sleep(0)
            answers = []
            for project_id in (1, 2):
                async with threads.turn(project_id) as worker:
                    answers.append(await worker.run(lambda: "alive"))
            return [*counts, threads.given_up], answers, threads.close()

        assert run(use, threads=2 * MAX_REPLACED) == ([2 * MAX_REPLACED, 0], ["alive", "alive"], True)

    def test_passes_on_what_the_work_raises(self) -> None:
        async def use(threads: FairThreads) -> float:
            async with threads.turn(1) as worker:
                return await worker.run(lambda: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            run(use)

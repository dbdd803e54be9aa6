"""Requests that come while others commit share a commit, and answer for themselves alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference.prediction_log.ingest.group_commit import CommitInterrupted, GroupCommit

type Rows = Sequence[str]


class Storage:
    """Notes the groups that it commits; the first commit stands still until it is let go."""

    def __init__(self, waits: bool = True) -> None:
        self.groups: list[list[Rows]] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        if not waits:
            self.may_end.set()

    def commit(self, requests: Sequence[Rows]) -> list[int]:
        self.groups.append(list(requests))
        self.has_begun.set()
        assert self.may_end.wait(30)
        if any("bad" in rows for rows in requests):
            raise ValueError("a bad row")
        if any("stop" in rows for rows in requests):
            raise SystemExit
        if any("away" in rows for rows in requests):
            raise ConnectionError("the database is away")
        return [len(rows) for rows in requests]


def share_all(storage: Storage, requests: list[Rows], *, max_items: int = 100) -> list[int | BaseException]:
    """Send the first request, and the others while it commits; give each one's result or error."""
    commits = GroupCommit(storage.commit, dooms=ConnectionError, turns=1, max_items=max_items)

    def share(rows: Rows) -> int | BaseException:
        try:
            return commits.share(rows)
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(requests)) as threads:
        first = threads.submit(share, requests[0])
        assert storage.has_begun.wait(30)
        others = []
        for number, rows in enumerate(requests[1:], 1):
            others.append(threads.submit(share, rows))
            while len(commits._waiting) < number:
                threading.Event().wait(0.001)
        storage.may_end.set()
        return [future.result(30) for future in [first, *others]]


def test_those_that_come_meanwhile_share_the_next_commit() -> None:
    storage = Storage()

    results = share_all(storage, [["a"], ["b", "c"], ["d"], ["e"]])

    assert results == [1, 2, 1, 1]
    assert storage.groups == [[["a"]], [["b", "c"], ["d"], ["e"]]]


def test_one_that_comes_alone_commits_at_once() -> None:
    storage = Storage(waits=False)
    commits = GroupCommit(storage.commit, dooms=ConnectionError, turns=1, max_items=100)

    assert [commits.share(["a"]), commits.share(["b", "c"])] == [1, 2]
    assert storage.groups == [[["a"]], [["b", "c"]]]


def test_a_group_holds_no_more_rows_than_it_may_unless_one_request_does() -> None:
    storage = Storage()

    share_all(storage, [["a"], ["b"] * 2, ["c"] * 2, ["d"] * 9], max_items=4)

    assert [[len(rows) for rows in group] for group in storage.groups] == [[1], [2, 2], [9]]


def test_a_fault_of_one_request_is_its_own() -> None:
    storage = Storage()

    first, bad, good = share_all(storage, [["a"], ["bad"], ["b", "c"]])

    assert (first, good) == (1, 2)
    assert isinstance(bad, ValueError)
    assert storage.groups[1:] == [[["bad"], ["b", "c"]], [["bad"]], [["b", "c"]]]


def test_an_error_that_dooms_all_is_told_to_all_without_another_try() -> None:
    storage = Storage()

    _, *others = share_all(storage, [["a"], ["away"], ["b"]])

    assert [type(error) for error in others] == [ConnectionError, ConnectionError]
    assert len(storage.groups) == 2


def test_a_thread_that_is_stopped_strands_nobody() -> None:
    storage = Storage()

    _, *others = share_all(storage, [["a"], ["stop"], ["b"]])

    assert SystemExit in {type(error) for error in others}
    assert {type(error) for error in others} <= {SystemExit, CommitInterrupted}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_under_load_every_request_is_committed_once(turns: int) -> None:
    storage = Storage(waits=False)
    commits = GroupCommit(storage.commit, dooms=ConnectionError, turns=turns, max_items=5)
    requests = [[f"{number}"] * (number % 4 + 1) for number in range(300)]

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(commits.share, requests))

    committed = [rows[0] for group in storage.groups for rows in group]
    assert results == [len(rows) for rows in requests]
    assert sorted(committed, key=int) == [str(number) for number in range(300)]


def test_tells_how_long_the_first_that_waits_has_waited() -> None:
    storage = Storage()
    commits = GroupCommit(storage.commit, dooms=ConnectionError, turns=1, max_items=100)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(commits.share, ["a"])
        assert storage.has_begun.wait(30)
        assert commits.waiting_s() == 0

        second = threads.submit(commits.share, ["b"])
        while not commits._waiting:
            threading.Event().wait(0.001)
        before = commits.waiting_s()
        threading.Event().wait(0.01)

        assert commits.waiting_s() > before > 0
        storage.may_end.set()
        assert (first.result(30), second.result(30)) == (1, 1)
    assert commits.waiting_s() == 0

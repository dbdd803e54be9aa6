"""Ids that are made for predictions, requests and events."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from driftline.base.ids import new_id, new_ids, row_ids


class TestNewId:
    def test_is_a_uuid_of_version_7_that_sorts_by_time(self) -> None:
        ids = [new_id() for _ in range(1000)]

        assert {uuid.UUID(made).version for made in ids} == {7}
        assert {uuid.UUID(made).variant for made in ids} == {uuid.RFC_4122}
        assert len(set(ids)) == 1000
        assert [made[:18] for made in ids] == sorted(made[:18] for made in ids)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
    def test_differs_between_threads_and_processes(self) -> None:
        with ThreadPoolExecutor(4) as threads:
            made = [id_ for ids in threads.map(new_ids, [1_000] * 4) for id_ in ids]
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, new_id().encode())
            os._exit(0)
        os.waitpid(child, 0)

        random_parts = [id_[19:] for id_ in [*made, new_id(), os.read(reader, 100).decode()]]

        assert len(set(random_parts)) == 4_002


class TestRowIds:
    def test_number_the_rows_of_a_request_with_several(self) -> None:
        assert row_ids("a", 1, 0, 1) == ["a"]
        assert row_ids("a", 3, 0, 3) == ["a:0", "a:1", "a:2"]
        assert row_ids("a", 3, 2, 3) == ["a:2"]

"""Prediction ids."""

import uuid

from inference.serving.engine.ids import new_prediction_id, row_ids


class TestNewPredictionId:
    def test_is_a_uuid_of_version_7_that_sorts_by_time(self) -> None:
        ids = [new_prediction_id() for _ in range(1000)]

        assert {uuid.UUID(made).version for made in ids} == {7}
        assert {uuid.UUID(made).variant for made in ids} == {uuid.RFC_4122}
        assert len(set(ids)) == 1000
        assert [made[:18] for made in ids] == sorted(made[:18] for made in ids)


class TestRowIds:
    def test_number_the_rows_of_a_request_with_several(self) -> None:
        assert row_ids("a", 1, 0, 1) == ["a"]
        assert row_ids("a", 3, 0, 3) == ["a:0", "a:1", "a:2"]
        assert row_ids("a", 3, 2, 3) == ["a:2"]

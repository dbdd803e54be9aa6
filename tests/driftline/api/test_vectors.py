"""Vectors on the wire: JSON, lines and Arrow keep the same, and hostile ones are refused with reasons."""

from datetime import timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.registry.models import Model
from inference.vector_names import MAX_DIMENSION
from inference.vectors import describe_vectors
from tests.driftline.api.arrow_streams import STREAM, as_stream
from tests.driftline.api.conftest import Api

PATH = "/models/flights/predictions"
START = now().replace(microsecond=0) - timedelta(hours=1)
VERSION = "encoder-1"


def vectors(rows: int, dimension: int) -> list[list[float]]:
    return np.random.default_rng(0).normal(size=(rows, dimension)).tolist()


def items(photos: list[Any], **features: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"photo-{place}",
            "timestamp": rfc3339(START + timedelta(seconds=place)),
            "version": VERSION,
            "features": {"photo": photo, **features},
            "prediction": 1,
        }
        for place, photo in enumerate(photos)
    ]


def as_table(rows: list[dict[str, Any]], kind: pa.DataType) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in ("id", "timestamp", "version", "prediction")}
    return pa.table(columns).append_column(
        "photo", pa.array([row["features"]["photo"] for row in rows], kind)
    )


def first_fault(answer: Any) -> tuple[str, str]:
    body = answer.json()
    assert answer.status_code == 200, body
    [error] = [result["error"] for result in body["results"] if result.get("error")]
    return error["code"], error["pointer"]


class TestAcceptedVectors:
    def test_are_told_as_what_is_kept_of_them(self, api: Api, flights: Model) -> None:
        photos = vectors(2, 64)

        answer = api.post(PATH, {"predictions": items(photos)}).json()

        assert answer["accepted"] == 2
        kept = describe_vectors("photo", np.array(photos))
        features = api.get(f"{PATH}/photo-1").json()["features"]
        assert features == {name: values[1] for name, values in kept.items()}

    @pytest.mark.parametrize(
        "kind", [pa.list_(pa.float64()), pa.list_(pa.float64(), 64), pa.large_list(pa.float64())]
    )
    def test_of_arrow_equal_those_of_json(self, api: Api, flights: Model, kind: pa.DataType) -> None:
        rows = items(vectors(3, 64))
        api.post(PATH, {"predictions": rows})

        answer = api.post(PATH, as_stream(as_table(rows, kind)), content_type=STREAM).json()

        assert (answer["duplicates"], answer["rejected"]) == (3, 0)

    def test_come_as_lines_and_where_other_items_are_bad(self, api: Api, flights: Model) -> None:
        rows = [orjson.dumps(row) for row in items(vectors(3, 64))]
        body = b"\n".join([rows[0], b"{", rows[1], rows[2]])

        answer = api.post(PATH, body, content_type="application/x-ndjson").json()

        assert (answer["accepted"], answer["rejected"]) == (3, 1)

    def test_of_the_largest_dimension_fit_in_an_item(self, api: Api, flights: Model) -> None:
        rows = items(vectors(2, MAX_DIMENSION))
        assert len(orjson.dumps(rows[0])) > 64 << 10

        assert api.post(PATH, {"predictions": rows}).json()["accepted"] == 2

    def test_are_whole_numbers_too_and_may_be_absent_or_null(self, api: Api, flights: Model) -> None:
        rows = items([[1, 2, 3], None, [4.5, 5, 6]], age=3.0)
        del rows[1]["features"]["photo"]

        assert api.post(PATH, {"predictions": rows}).json()["accepted"] == 3
        assert api.get(f"{PATH}/photo-1").json()["features"]["photo.norm"] is None

    def test_that_differ_under_one_id_conflict(self, api: Api, flights: Model) -> None:
        api.post(PATH, {"predictions": items([[1.0, 2.0]])})

        answer = api.post(PATH, {"predictions": items([[1.0, 2.5]])}).json()

        assert answer["results"][0]["status"] == "conflict"


class TestHostileVectors:
    @pytest.mark.parametrize(
        ("photo", "code", "pointer"),
        [
            ([], "invalid_vector", "/predictions/0/features/photo"),
            ([1.0], "invalid_vector", "/predictions/0/features/photo"),
            ([0.0] * (MAX_DIMENSION + 1), "invalid_vector", "/predictions/0/features/photo"),
            ([1.0, None], "wrong_type", "/predictions/0/features/photo"),
            ([1.0, "2"], "wrong_type", "/predictions/0/features/photo"),
            ([[1.0, 2.0], [3.0, 4.0]], "wrong_type", "/predictions/0/features/photo"),
        ],
    )
    def test_are_refused_by_name(
        self, api: Api, flights: Model, photo: list[Any], code: str, pointer: str
    ) -> None:
        assert first_fault(api.post(PATH, {"predictions": items([photo])})) == (code, pointer)

    def test_of_two_dimensions_in_one_request_are_refused_but_for_the_first(
        self, api: Api, flights: Model
    ) -> None:
        answer = api.post(PATH, {"predictions": items([[1.0, 2.0], [1.0, 2.0, 3.0]])})

        assert first_fault(answer) == ("wrong_dimension", "/predictions/1/features/photo")

    def test_beside_a_number_that_has_the_name_of_a_part_are_refused(self, api: Api, flights: Model) -> None:
        rows = items([[1.0, 2.0]])
        rows[0]["features"]["photo.norm"] = 3.0

        assert first_fault(api.post(PATH, {"predictions": rows}))[0] == "name_taken"

    def test_that_are_too_many_are_refused(self, api: Api, flights: Model) -> None:
        rows = items([[1.0, 2.0]], **{f"v{place}": [1.0, 2.0] for place in range(16)})

        assert first_fault(api.post(PATH, {"predictions": rows}))[0] == "too_many_keys"

    def test_in_arrow_of_a_wrong_length_are_refused_by_row(self, api: Api, flights: Model) -> None:
        rows = items([[1.0, 2.0], [1.0]])

        answer = api.post(PATH, as_stream(as_table(rows, pa.list_(pa.float64()))), content_type=STREAM)

        assert first_fault(answer) == ("invalid_vector", "/1/photo")

    def test_in_arrow_of_lists_of_lists_are_refused(self, api: Api, flights: Model) -> None:
        table = as_table(items([[[1.0], [2.0]]]), pa.list_(pa.list_(pa.float64())))

        answer = api.post(PATH, as_stream(table), content_type=STREAM)

        assert answer.status_code == 422

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.prediction_log.storage.array_literals import integer_array, text_array

pytestmark = pytest.mark.slow

STORABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
AWKWARD = st.sampled_from(["", "NULL", "null", '"', "\\", '\\"', "{}", "a,b", " ", "'", "%s", "\n"])


@pytest.mark.django_db
class TestTextArray:
    @given(st.lists(st.none() | STORABLE | AWKWARD, max_size=20))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_is_read_back_by_postgresql_as_it_was(self, texts: list[str | None]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::text[]", [text_array(texts)])
            (found,) = cursor.fetchone()

        assert found == texts


@pytest.mark.django_db
class TestIntegerArray:
    def test_holds_the_whole_range_of_64_bits(self) -> None:
        numbers = [-(2**63), -1, 0, 2**63 - 1]

        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::bigint[]", [integer_array(numbers)])
            (found,) = cursor.fetchone()

        assert found == numbers

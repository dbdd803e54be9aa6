"""What the first bytes of a file say of its format, of its times and of its columns."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from inference.data_files.columns import ColumnRole, FileReading, rewrite, with_points
from inference.data_files.formats import FileFormat, UnknownFormat, sniff_format, whole_lines
from inference.data_files.guesses import ColumnSample, KnownModel, guess_columns
from inference.data_files.times import read_times, style_of

ROWS = [f"a{n};{n},5;{n % 2}" for n in range(30)]
TEXT = "\n".join(["name;x;label", *ROWS])


class TestFormat:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
    def test_is_found_for_each_delimiter_and_encoding(self, delimiter: str, encoding: str) -> None:
        rows = [f"ä{n}{delimiter}{n}.5{delimiter}{n % 2}" for n in range(30)]
        head = "\n".join([f"name{delimiter}x{delimiter}label", *rows]).encode(encoding)

        found = sniff_format(head).format

        assert (found.delimiter, found.decimal, found.has_header) == (delimiter, ".", True)
        assert head.decode(found.encoding).removeprefix("\ufeff").startswith("name")

    def test_of_a_plain_file_is_plain(self) -> None:
        assert sniff_format(b"a,b\n1.5,2\n").format.is_plain

    def test_has_a_decimal_comma_where_numbers_have_one(self) -> None:
        assert sniff_format(TEXT.encode()).format == FileFormat("csv", "utf-8", ";", ",", True)

    def test_quoted_delimiters_and_line_breaks_part_nothing(self) -> None:
        head = b'a;b\n"1;2,5\n3";4\n"x;y,z";5\n'

        assert sniff_format(head).format.delimiter == ";"

    @pytest.mark.parametrize(("head", "has_header"), [
        (b"1,2\n3,4\n", False), (b"0,1,2\n5,6,7\n8,9,3\n", True), (b"a,b\n1,2\n", True),
    ])  # fmt: skip
    def test_numbers_in_the_first_row_are_values_unless_they_count_columns(
        self, head: bytes, has_header: bool
    ) -> None:
        assert sniff_format(head).format.has_header is has_header

    @pytest.mark.parametrize(
        "magic", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"ARROW1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]
    )
    def test_of_another_kind_is_named(self, magic: bytes) -> None:
        with pytest.raises(UnknownFormat, match="CSV and Parquet are read"):
            sniff_format(magic + b"\0" * 20)

    def test_a_head_ends_with_a_whole_row(self) -> None:
        assert whole_lines('a,b\n1,"x\ny') == "a,b\n"
        assert whole_lines("a,b\n1,2\n3") == "a,b\n1,2\n"


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
            ("2026-01-31 10:00:00.5+02:00", datetime(2026, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)),
            ("2026-01-31", datetime(2026, 1, 30, 23, tzinfo=UTC)),
            ("31.01.2026 10:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
            ("1/31/2026 1:05 PM", None),
            ("1769853600", datetime(2026, 1, 31, 10, tzinfo=UTC)),
            ("1769853600000", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ],
    )
    def test_are_read_in_the_zone_of_their_clock(self, text: str, moment: datetime | None) -> None:
        column = pa.chunked_array([[text, None]], pa.string())

        found = read_times(column, zone="Europe/Berlin", date_order="day_first").to_pylist()

        assert found == [moment or text, None]

    def test_the_month_comes_first_where_that_is_chosen(self) -> None:
        column = pa.chunked_array([["1/31/2026 1:05 PM"]])

        [found] = read_times(column, zone="UTC", date_order="month_first").to_pylist()

        assert found == datetime(2026, 1, 31, 13, 5, tzinfo=UTC)

    def test_a_value_that_is_no_time_stays_as_it_is_beside_the_others(self) -> None:
        column = pa.chunked_array([["31.01.2026", "soon", "2026-13-01"]])

        found = read_times(column, zone="UTC", date_order="day_first").to_pylist()

        assert found == ["2026-01-31T00:00:00+00:00", "soon", "2026-13-01"]

    @pytest.mark.parametrize(
        ("values", "order", "is_certain"),
        [
            (["31.01.2026", "01.02.2026"], "day_first", True),
            (["01/31/2026", "01/02/2026"], "month_first", True),
            (["01/02/2026", "03/04/2026"], "day_first", False),
            (["2026-01-02"], None, True),
        ],
    )
    def test_the_order_of_day_and_month_is_found_where_a_value_shows_it(
        self, values: list[str], order: str | None, is_certain: bool
    ) -> None:
        style = style_of(values)

        assert (style.date_order, style.is_order_certain, style.share) == (order, is_certain, 1.0)


def guess(known: KnownModel = KnownModel(), **columns: list[str | None]) -> dict[str, ColumnRole]:  # noqa: B008
    samples = [ColumnSample(name, values) for name, values in columns.items()]
    return {found.name: found.role for found in guess_columns(samples, known=known)}


class TestGuesses:
    NUMBERS = [str(n * 1.5) for n in range(40)]

    def test_measurements_that_never_repeat_are_features(self) -> None:
        assert guess(weight=self.NUMBERS) == {"weight": ColumnRole.FEATURE}

    def test_numbers_that_count_up_are_ids(self) -> None:
        assert guess(row=[str(n) for n in range(7, 47)]) == {"row": ColumnRole.ID}

    def test_a_second_id_is_ignored(self) -> None:
        ids = [f"a{n}" for n in range(40)]

        assert guess(id=ids, customer=ids) == {"id": ColumnRole.ID, "customer": ColumnRole.IGNORED}

    def test_what_the_model_declares_is_a_feature_whatever_it_looks_like(self) -> None:
        known = KnownModel(features={"approved": False, "serial": False})

        found = guess(known, approved=["0", "1"] * 20, serial=[f"a{n}" for n in range(40)])

        assert set(found.values()) == {ColumnRole.FEATURE}

    def test_what_a_served_model_does_not_take_is_ignored_and_may_be_a_feature_of_one_that_learns(
        self,
    ) -> None:
        served = KnownModel(features={"weight": True}, has_all_features=True)
        learning = KnownModel(features={"weight": True})

        assert guess(served, weight=self.NUMBERS, colour=["red"] * 40)["colour"] == ColumnRole.IGNORED
        assert guess(learning, weight=self.NUMBERS, colour=["red"] * 40)["colour"] == ColumnRole.FEATURE

    def test_usual_names_count_where_the_values_fit(self) -> None:
        found = guess(
            y_true=["0", "1"] * 20,
            y_pred=["1", "0"] * 20,
            score=["0.25", "0.5"] * 20,
            eventTime=["2026-01-05"] * 40,
        )

        assert list(found.values()) == [
            ColumnRole.LABEL, ColumnRole.PREDICTION, ColumnRole.PROBABILITY, ColumnRole.TIMESTAMP,
        ]  # fmt: skip
        assert guess(score=["740", "680"] * 20) == {"score": ColumnRole.FEATURE}


class TestRewrite:
    def test_renames_leaves_out_and_keeps_leading_zeros(self) -> None:
        table = pa.table(
            {"no": ["007"], "x": ["1,5"], "shop": ["web"], "note": ["?"], "p_yes": ["0,5"], "p_no": ["0,5"]}
        )
        columns = {
            "no": ColumnRole.ID, "x": ColumnRole.FEATURE, "shop": ColumnRole.TAG, "note": ColumnRole.IGNORED,
            "p_yes": ColumnRole.PROBABILITY, "p_no": ColumnRole.PROBABILITY,
        }  # fmt: skip
        reading = FileReading(FileFormat("csv", "utf-8", ";", ","), columns)

        assert rewrite(table, reading).to_pylist() == [
            {"id": "007", "x": "1.5", "tag_shop": "web", "probability_yes": "0.5", "probability_no": "0.5"}
        ]

    def test_only_numbers_get_a_point(self) -> None:
        column = pa.chunked_array([["1,5", "-1.234,5", "1.234", "red, blue", None, "1.5"]])

        assert with_points(column).to_pylist() == ["1.5", "-1234.5", "1234", "red, blue", None, "1.5"]

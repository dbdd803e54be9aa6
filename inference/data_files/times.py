"""Reads the times of a column, however they are written, as moments in UTC."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from inference.data_files.arrow_types import is_text

type DateOrder = Literal["day_first", "month_first"]

MOMENT = pa.timestamp("us", "UTC")
_TIME = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d+)?)?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE = r"(?P<zone>Z|z| ?UTC|[+-]\d{2}:?\d{2})?"
_ISO = re.compile(rf"(?P<year>\d{{4}})[-/](?P<month>\d{{1,2}})[-/](?P<day>\d{{1,2}}){_TIME}{_ZONE}")
_ORDERED = re.compile(
    rf"(?P<first>\d{{1,2}})(?P<mark>[./-])(?P<second_>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_TIME}{_ZONE}"
)
_EPOCH = re.compile(r"\d{10}(\.\d+)?|\d{13}|\d{16}")
_EPOCH_UNIT = {10: 1, 13: 1_000, 16: 1_000_000}
_PLAIN = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?$"
_YEARS = (1990, 2100)
_AREAS = frozenset(
    {
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    }
)
"""Of the names of time zones; those without an area of the world are of other standards, or of old."""
_MIN_LENGTH = len("1.1.2024")


class TimeStyle(Struct, frozen=True):
    """How the times of a column are written."""

    share: float
    """The share of its values that are times."""
    formats: list[str] = []
    """The formats that occur, the most frequent first: iso, ordered, epoch."""
    is_naive: bool = False
    """Whether some of them have no time zone."""
    date_order: DateOrder | None = None
    """Whether the day or the month comes first, where that matters."""
    is_order_certain: bool = True
    example: str = ""


def style_of(values: Iterable[str]) -> TimeStyle:
    """Return how texts are written as times, if they are."""
    formats: Counter[str] = Counter()
    naive = total = 0
    firsts: list[tuple[int, int, str]] = []
    example = ""
    for value, times in Counter(values).items():
        text, total = value.strip(), total + times
        if len(text) < _MIN_LENGTH:
            continue
        if found := _ISO.fullmatch(text):
            formats["iso"] += times
        elif found := _ORDERED.fullmatch(text):
            formats["ordered"] += times
            firsts.append((int(found["first"]), int(found["second_"]), found["mark"]))
            example = example or text
        elif _EPOCH.fullmatch(text) and _is_recent(text):
            formats["epoch"] += times
            continue
        else:
            continue
        naive += found["zone"] is None
    order, is_certain = _order_of(firsts)
    return TimeStyle(
        sum(formats.values()) / total if total else 0.0,
        [name for name, _ in formats.most_common()],
        bool(naive),
        order,
        is_certain,
        example,
    )


def _is_recent(text: str) -> bool:
    seconds = float(text) if "." in text else int(text) / _EPOCH_UNIT[len(text)]
    return _YEARS[0] <= datetime.fromtimestamp(seconds, UTC).year < _YEARS[1]


def _order_of(firsts: list[tuple[int, int, str]]) -> tuple[DateOrder | None, bool]:
    if not firsts:
        return None, True
    days_first = any(first > 12 for first, _, _ in firsts)
    months_first = any(second > 12 for _, second, _ in firsts)
    if days_first != months_first:
        return ("day_first" if days_first else "month_first"), True
    return "day_first", firsts[0][2] == "." and not months_first


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones; Factory, which is a place holder, is none."""
    return frozenset(available_timezones() - {"Factory"})


@cache
def offered_zones() -> tuple[str, ...]:
    """Return the names that a list offers: Area/City, and UTC; other names are aliases of these, and still read."""
    cities = (zone for zone in time_zones() if zone.partition("/")[0] in _AREAS)
    return ("UTC", *sorted(cities))


def read_times(column: pa.ChunkedArray, *, zone: str, date_order: DateOrder | None) -> pa.ChunkedArray:
    """Read a column as moments in UTC; times without a zone are of `zone`.

    Where a value is no time, all stay text: the others in ISO 8601, and that one as it is. Without a `zone` times
    without one are left as they are, too.
    """
    kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("us")), pa.timestamp("us")
    if pa.types.is_timestamp(kind):
        if kind.tz is None and zone:
            column = _in_zone(column.cast(pa.timestamp("us"), safe=False), zone)
        return column if kind.tz is None and not zone else column.cast(MOMENT, safe=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        column = _number_texts(column)
    if not is_text(column.type):
        return column
    return _read_texts(column, zone, date_order)


def _number_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write numbers without an exponent, and whole ones without a point, as times since 1970 are written."""
    whole = pc.cast(column, pa.int64(), safe=False).cast(pa.string())
    if pa.types.is_integer(column.type):
        return whole
    return pc.if_else(pc.equal(column, pc.floor(column)), whole, column.cast(pa.string()))


def _read_texts(column: pa.ChunkedArray, zone: str, date_order: DateOrder | None) -> pa.ChunkedArray:
    with suppress(pa.ArrowInvalid):  # a month 13, or the like
        if zone and pc.all(pc.match_substring_regex(column, _PLAIN), min_count=0).as_py():
            return _in_zone(column.cast(pa.timestamp("us")), zone)
    coded = column.combine_chunks().dictionary_encode()
    texts = coded.dictionary.to_pylist()
    moments = [_moment(text, zone, date_order) for text in texts]
    if None not in moments:
        return pa.chunked_array([pa.array(moments, MOMENT).take(coded.indices)])
    written = [
        text if moment is None else moment.isoformat() for moment, text in zip(moments, texts, strict=True)
    ]
    return pa.chunked_array([pa.array(written, pa.string()).take(coded.indices)])


def _in_zone(column: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    """Read local times; of the hour that comes twice in autumn the first is taken, and none is missing in spring."""
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="latest").cast(MOMENT)


def _moment(text: str, zone: str, date_order: DateOrder | None) -> datetime | None:
    text = text.strip()
    try:
        if found := _ISO.fullmatch(text):
            year, month, day = found["year"], found["month"], found["day"]
        elif found := _ORDERED.fullmatch(text):
            year, first, second = found["year"], found["first"], found["second_"]
            day, month = (second, first) if date_order == "month_first" else (first, second)
        elif _EPOCH.fullmatch(text):
            seconds = float(text) if "." in text else int(text) / _EPOCH_UNIT[len(text)]
            return datetime.fromtimestamp(seconds, UTC)
        else:
            return None
        return _put_together(found, int(year), int(month), int(day), zone)
    except (ValueError, OverflowError):
        return None


def _put_together(found: re.Match[str], year: int, month: int, day: int, zone: str) -> datetime | None:
    hour = int(found["hour"] or 0)
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    us = int(f"{(found['part'] or '.0')[1:7]:0<6}")
    moment = datetime(year, month, day, hour, int(found["minute"] or 0), int(found["second"] or 0), us)
    given = (found["zone"] or "").strip()
    if not given:
        return moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) if zone else None
    offset = "+00:00" if given.upper() in ("Z", "UTC") else given
    return datetime.fromisoformat(f"{moment.isoformat()}{offset}").astimezone(UTC)

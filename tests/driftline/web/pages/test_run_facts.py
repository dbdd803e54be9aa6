"""What a step of a run found, as its page writes it."""

import pytest

from driftline.web.pages.templatetags.run_facts import fact, fact_name, length_of


@pytest.mark.parametrize(
    ("name", "value", "title", "text"),
    [
        ("twins", 25, "Held-out rows that repeat a training row", "25"),
        ("roc_auc", 0.70513, "ROC AUC", "0.7051"),
        ("row_latency_us", 41.7, "Time for one row", "42 µs"),
        ("peak_memory_mb", 312.4, "Most memory used", "312 MB"),
        ("size_bytes", 20_480, "Size", "20.0\xa0KB"),
        ("label_share", 0.874, "Rows with a label", "87%"),
        ("trainer", "lightgbm", "Trainer", "lightgbm"),
        ("start", "2026-13-45T99:00:00Z", "Start", "2026-13-45T99:00:00Z"),
    ],
)
def test_has_a_name_and_a_unit_that_people_know(name: str, value: object, title: str, text: str) -> None:
    assert (fact_name(name), fact(value, name)) == (title, text)


def test_is_a_time_as_people_write_it() -> None:
    written = fact("2026-11-19T06:05:04.123456Z", "start")

    assert ">19 Nov 2026 06:05</time>" in written
    assert "123456" not in written


def test_is_a_digest_by_its_first_characters_with_all_of_them_at_hand() -> None:
    digest = "9452e42f" * 8

    written = fact(digest, "sha256")

    assert written == f'<code title="{digest}">9452e42f9452…</code>'


def test_is_a_length_of_time_in_seconds_or_minutes() -> None:
    assert (length_of(2.25), length_of(612.0)) == ("2.2 s", "10 min")

"""YAML of documents: what is written is read again as it was, and what makes YAML dangerous is refused."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from driftline.base.errors import Problem
from driftline.base.yaml_text import NumberReader, read_yaml, write_yaml
from driftline.operations.configuration.yaml_text import read_document

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    [
        "no",
        "true",
        "null",
        "~",
        "1e3",
        "0x1f",
        "1_000",
        "2026-01-01",
        "1:30",
        ".5",
        "-",
        "=",
        "<<",
        "",
        " a",
        "a: b",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
KEYS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


@pytest.mark.slow
@given(DOCUMENTS)
def test_what_is_written_is_read_again(document: dict[str, object]) -> None:
    assert read_yaml(write_yaml(document), NumberReader) == document


@pytest.mark.slow
@given(DOCUMENTS)
def test_other_readers_of_yaml_read_the_same(document: dict[str, object]) -> None:
    assert yaml.safe_load(write_yaml(document)) == document


def test_words_and_times_stay_text_and_numbers_are_numbers() -> None:
    read = read_document(b"a: no\nb: 2026-01-01\nc: 1e-3\nd: 007\ne: 0x1f\nf: 1\ng: true\n5: x\n")

    assert read == {
        "a": "no",
        "b": "2026-01-01",
        "c": 0.001,
        "d": "007",
        "e": "0x1f",
        "f": 1,
        "g": True,
        "5": "x",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            b"a: &x [1]\nb: [*x, *x]",
            "Line 1, column 4: a reference, & or *, cannot be used here: write it out.",
        ),
        (b"a: 1\nb: 2\na: 3", "Line 3, column 1: the key 'a' comes twice."),
        (b"[" * 40, "this nests deeper than 30 levels."),
        (b"a: [1, 2", "Line 1"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"? [1]\n: 2", "Line 1, column 3: a key is a word."),
        (b"a: " + b"9" * 30, "an integer has too many digits."),
        (b"a: 1e999", "a number is too large."),
        (b"a: \x00", "characters that cannot be printed."),
        (b"\xff\xfe\xfa", "This is not UTF-8 at byte 0."),
        (b"a: 1\n---\nb: 2", "another document"),
        (b"\ta: 1", "Line 1"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: bytes, sentence: str) -> None:
    with pytest.raises(Problem) as refused:
        read_document(text)

    assert (refused.value.status, refused.value.code) == (422, "malformed_yaml")
    assert sentence in refused.value.detail


def test_a_reader_of_text_takes_no_numbers() -> None:
    assert read_yaml("a: 08:00\nb: 5\nc: [-1, true, ~]") == {"a": "08:00", "b": "5", "c": ["-1", True, None]}

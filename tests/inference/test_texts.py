"""What is measured of texts."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import texts
from inference.texts import NO_SCRIPT, describe_texts, text_parts

written = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def measured(*values: object) -> dict[str, list[object]]:
    found = describe_texts("note", np.array([*values, None], object))
    return {name: column.tolist()[:-1] for name, column in found.items()}


class TestDescribe:
    def test_counts_characters_words_and_digits(self) -> None:
        found = measured("Room 12 is free", "  two\twords\n", "")

        assert found["note.length"] == [15.0, 12.0, 0.0]
        assert found["note.words"] == [4.0, 2.0, 0.0]
        assert found["note.digits"] == [pytest.approx(2 / 15), 0.0, 0.0]

    @pytest.mark.parametrize(
        ("text", "script"),
        [
            ("Grüße aus Köln", "Latin"), ("привет, мир", "Cyrillic"), ("καλημέρα", "Greek"), ("مرحبا", "Arabic"),
            ("שלום", "Hebrew"), ("नमस्ते", "Devanagari"), ("สวัสดี", "Thai"), ("你好", "Han"), ("ひらがな", "Hiragana"),
            ("안녕하세요", "Hangul"), ("ᏣᎳᎩ", "Other"), ("12:30 !", NO_SCRIPT), ("", NO_SCRIPT),
        ],
    )  # fmt: skip
    def test_names_the_script_of_most_letters(self, text: str, script: str) -> None:
        assert measured(text)["note.script"] == [script]

    def test_tells_how_many_letters_are_of_that_script(self) -> None:
        found = measured("p\N{CYRILLIC SMALL LETTER A}ypal")

        assert (found["note.script"], found["note.script_share"]) == (["Latin"], [pytest.approx(5 / 6)])

    def test_leaves_out_what_is_no_text(self) -> None:
        found = describe_texts("note", np.array([None, 3.5], object))

        assert np.isnan(found["note.length"]).all()
        assert found["note.script"].tolist() == [None, None]

    @pytest.mark.slow
    @given(st.lists(written, min_size=1, max_size=6))
    def test_equals_what_a_plain_loop_counts(self, rows: list[str]) -> None:
        found = measured(*rows)

        assert found["note.length"] == [len(row) for row in rows]
        assert found["note.words"] == [len(row.split()) for row in rows]
        digits = [sum(unicodedata.category(one) == "Nd" for one in row) / max(len(row), 1) for row in rows]
        assert found["note.digits"] == pytest.approx(digits)
        latin = [bool(re.fullmatch("[a-zA-Z]+", row)) for row in rows]
        assert all(found["note.script"][place] == "Latin" for place, is_latin in enumerate(latin) if is_latin)

    @given(st.lists(written, min_size=1, max_size=8))
    def test_does_not_depend_on_which_rows_come_together(self, rows: list[str]) -> None:
        together = measured(*rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(texts, "_MAX_CHARACTERS", 10)
            assert str(measured(*rows)) == str(together)
        alone = [measured(row) for row in rows]
        assert str({name: [one[name][0] for one in alone] for name in text_parts("note")}) == str(together)

"""What is measured of texts: few numbers and a script, in place of a category that is new in every row.

A text becomes `name.length` in characters, `name.words`, `name.digits` (share of the characters), `name.script`, the
script of most of its letters such as Latin or Cyrillic, and `name.script_share`, their share of the letters. Scripts
are those of Unicode's names; words are what blanks part, so that one of Thai or Chinese may be a sentence.

Arrays only: no Django, no clock.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Thai", "Armenian",
    "Georgian", "Ethiopic", "Hangul", "Hiragana", "Katakana", "Han", "Other",
)  # fmt: skip
NO_SCRIPT = "none"
SUFFIXES = ("length", "words", "digits", "script", "script_share")
_PREFIXES = {script.upper(): place for place, script in enumerate(SCRIPTS)} | {"CJK": SCRIPTS.index("Han")}
_PLAIN, _BLANK, _DIGIT, _FIRST_SCRIPT = 0, 1, 2, 3
_BLOCK = 256  # code points that are classified at once, when the first of them is seen
_MAX_CHARACTERS = 1 << 20  # of texts that are looked at together

type Values = NDArray[Any]


def text_parts(name: str) -> list[str]:
    """Name the features that a text becomes."""
    return [f"{name}.{suffix}" for suffix in SUFFIXES]


def kinds_of_parts(name: str) -> dict[str, bool]:
    """Return of each feature that a text becomes whether it is a number."""
    return {part: part != f"{name}.script" for part in text_parts(name)}


def describe_texts(name: str, values: Values) -> dict[str, Values]:
    """Return the features of one row each that texts become; a row without a text is missing in all of them.

    >>> found = describe_texts("note", np.array(["Room 12", "привет", None], object))
    >>> found["note.length"].tolist(), found["note.script"].tolist()
    ([7.0, 6.0, nan], ['Latin', 'Cyrillic', None])
    """
    numbers = np.full((4, len(values)), np.nan)
    scripts = np.full(len(values), None, object)
    places = np.array([place for place, value in enumerate(values) if isinstance(value, str)], np.int64)
    for some in _parts(values, places):
        numbers[:, some], scripts[some] = _describe([values[place] for place in some])
    length, words, digits, share = numbers
    found = (length, words, digits, scripts, share)
    return dict(zip(text_parts(name), found, strict=True))


def _parts(values: Values, places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Part rows into runs with a bounded number of characters, of one text at least."""
    lengths = np.array([len(values[place]) for place in places], np.int64)
    run = np.cumsum(lengths) // _MAX_CHARACTERS
    for start in np.flatnonzero(np.diff(run, prepend=-1)):
        yield places[run == run[start]]


def _describe(texts: Sequence[str]) -> tuple[NDArray[np.float64], Values]:
    """Measure texts: length, words, share of digits and of the most frequent script, a row each, and that script."""
    count = len(texts)
    lengths = np.fromiter(map(len, texts), np.int64, count)
    kinds = _kinds_of("".join(texts))
    rows = np.repeat(np.arange(count), lengths)
    is_first = np.zeros(len(kinds), np.bool_)
    is_first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    is_blank = kinds == _BLANK
    begins_word = ~is_blank & (is_first | np.concatenate([[True], is_blank[:-1]])[: len(kinds)])
    words = np.bincount(rows[begins_word], minlength=count)
    digits = np.bincount(rows[kinds == _DIGIT], minlength=count)
    is_letter = kinds >= _FIRST_SCRIPT
    cells = rows[is_letter] * len(SCRIPTS) + kinds[is_letter] - _FIRST_SCRIPT
    letters = np.bincount(cells, minlength=count * len(SCRIPTS)).reshape(count, len(SCRIPTS))
    total, dominant = letters.sum(axis=1), letters.argmax(axis=1)
    share = np.divide(letters.max(axis=1), total, out=np.full(count, np.nan), where=total > 0)
    digit_share = np.divide(digits, lengths, out=np.zeros(count), where=lengths > 0)
    scripts = np.where(total > 0, np.array(SCRIPTS, object)[dominant], NO_SCRIPT)
    return np.stack([lengths.astype(np.float64), words.astype(np.float64), digit_share, share]), scripts


def _kinds_of(text: str) -> NDArray[np.int64]:
    """Classify each character: as a blank, a digit, a letter of a script, or anything else."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    blocks, inverse = np.unique(codes // _BLOCK, return_inverse=True)
    table = np.array([_kinds_of_block(int(block)) for block in blocks], np.int64).reshape(-1, _BLOCK)
    return table[inverse, codes % _BLOCK]


@lru_cache(maxsize=8_192)
def _kinds_of_block(block: int) -> tuple[int, ...]:
    return tuple(_kind_of(chr(block * _BLOCK + place)) for place in range(_BLOCK))


def _kind_of(character: str) -> int:
    if character.isspace():
        return _BLANK
    category = unicodedata.category(character)
    if category == "Nd":
        return _DIGIT
    if not category.startswith("L"):
        return _PLAIN
    first = unicodedata.name(character, "").partition(" ")[0]
    return _FIRST_SCRIPT + _PREFIXES.get(first, SCRIPTS.index("Other"))

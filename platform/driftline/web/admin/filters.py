"""Filters of lists that ask what an operator would: whether something has happened."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import EmptyFieldListFilter

_ANSWERS = {"Empty": "no", "Not empty": "yes"}


class HappenedFilter(EmptyFieldListFilter):
    """Whether a time is set: *revoked: yes* for `revoked_at`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = str(self.title).removesuffix(" at")

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            word, *count = str(choice["display"]).split(" (")
            yield {**choice, "display": " (".join([_ANSWERS.get(word, word), *count])}


class OneSegmentFilter(HappenedFilter):
    """Whether a row is of one segment, or of all rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = "one segment only"

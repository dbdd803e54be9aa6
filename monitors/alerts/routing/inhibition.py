"""Incidents that need no message, because another one that is open explains them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitors.alerts.routing.matchers import Matcher, all_match


@dataclass(frozen=True)
class InhibitRule:
    """While something that fires meets `source`, what meets `target` is not notified, where the labels `equal` are the
    same of both."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]

    def inhibits(self, labels: Mapping[str, str], by: Mapping[str, str]) -> bool:
        """Return whether something with the labels `by` inhibits something with `labels`.

        What meets both sides is not inhibited by what meets both sides too, or two incidents could silence each other.
        """
        if not (all_match(self.target, labels) and all_match(self.source, by)):
            return False
        if any(labels.get(name, "") != by.get(name, "") for name in self.equal):
            return False
        return not (all_match(self.source, labels) and all_match(self.target, by))


def find_inhibitor(
    rules: Sequence[InhibitRule], labels: Mapping[str, str], others: Sequence[Mapping[str, str]]
) -> int | None:
    """Return the place of the first of `others`, labels of what fires, that inhibits something, or None."""
    for place, other in enumerate(others):
        if any(rule.inhibits(labels, other) for rule in rules):
            return place
    return None

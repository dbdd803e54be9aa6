# ruff: noqa: E501  one row, one line
"""A tree that is wrong: a sentence for each fault, at its place."""

from typing import Any

import pytest

from driftline.base.errors import Problem
from monitors.alerts.routing.matchers import Matcher, parse_labels
from monitors.alerts.routing.parsing import parse_document, parse_length, write_length
from monitors.alerts.routing.yaml_text import read_tree


def below(**route: Any) -> dict[str, Any]:
    return {"route": {"routes": [route]}}


def within(**interval: Any) -> dict[str, Any]:
    return {"route": {}, "time_intervals": [{"name": "n"} | interval]}


def nested(depth: int) -> dict[str, Any]:
    return {"routes": [nested(depth - 1)]} if depth else {}


BAD = [
    ("no matcher", below(matchers=["severity"]), "/route/routes/0/matchers/0", "'severity' is no matcher; write a label"),
    ("an expression of no kind", below(matchers=['a=~"("']), "/route/routes/0/matchers/0", "'(' is no regular expression of RE2: missing )"),
    ("an expression that RE2 lacks", below(matchers=['a=~"(?=x)"']), "/route/routes/0/matchers/0", "is no regular expression of RE2"),
    ("an expression that grows", below(matchers=['a=~"((a{100}){100}){100}"']), "/route/routes/0/matchers/0", "is no regular expression of RE2"),
    ("a quote too few", below(matchers=['a="b']), "/route/routes/0/matchers/0", "has a quote too many or too few"),
    ("a long value", below(matchers=["a=" + "x" * 501]), "/route/routes/0/matchers/0", "is too long"),
    ("reminders before changes", {"route": {"group_interval": "1h", "repeat_interval": "30m"}}, "/route/repeat_interval", "repeat_interval is 30m, below the group_interval of 1h"),
    ("reminders before changes from above", {"route": {"repeat_interval": "1h", "routes": [{"group_interval": "2h"}]}}, "/route/routes/0/repeat_interval", "below the group_interval of 2h"),
    ("hectic reminders", {"route": {"group_interval": "0s", "repeat_interval": "1m"}}, "/route/repeat_interval", "repeat_interval is 1m, below the shortest interval of 5m"),
    ("an unknown channel", {"route": {"channels": ["chat"]}}, "/route/channels/0", "This project has no channel 'chat'; it has mail"),
    ("an unknown key", below(repeat_intervall="1h"), "/route/routes/0/repeat_intervall", "'repeat_intervall' is not known here; use one of matchers, channels, continue,"),
    ("an unknown key of an interval", within(hours=["1"]), "/time_intervals/0/hours", "'hours' is not known here; use one of name, zone, times,"),
    ("an unknown interval", below(mute_time_intervals=["nights"]), "/route/routes/0/mute_time_intervals/0", "There is no time interval 'nights'"),
    ("a group by what is no label", {"route": {"group_by": ["onwer"]}}, "/route/group_by/0", "'onwer' is no label that incidents can share; use model, owner,"),
    ("a group by incident and more", {"route": {"group_by": ["incident", "owner"]}}, "/route/group_by/0", "or [incident] alone"),
    ("a root with a condition", {"route": {"matchers": ["a=b"]}}, "/route/matchers", "The first route takes every incident"),
    ("an escalation to nobody", below(escalate_after="1h"), "/route/routes/0", "escalate_to is missing"),
    ("an escalation at no time", below(escalate_to=["mail"]), "/route/routes/0", "escalate_after is missing"),
    ("an escalation at once", below(escalate_after="1s", escalate_to=["mail"]), "/route/routes/0/escalate_after", "leave at least 1m to acknowledge"),
    ("no length", below(group_wait="soon"), "/route/routes/0/group_wait", "'soon' is no length of time; write it as 30s"),
    ("a length of years", below(group_wait="99w"), "/route/routes/0/group_wait", "is longer than 366 days"),
    ("hours over midnight", within(times=["22:00-06:00"]), "/time_intervals/0/times/0", "write two, such as 22:00-24:00 and 00:00-06:00"),
    ("hours beyond the day", within(times=["22:00-25:00"]), "/time_intervals/0/times/0", "is beyond the day, which ends at 24:00"),
    ("no zone", within(zone="../../etc/passwd"), "/time_intervals/0/zone", "is no time zone; use one such as Europe/Berlin"),
    ("no weekday", within(weekdays=["freitag"]), "/time_intervals/0/weekdays/0", "'freitag' is no day of the week; write monday"),
    ("a week that ends first", within(weekdays=["friday:monday"]), "/time_intervals/0/weekdays/0", "ends before it starts; write two entries"),
    ("no day of the month", within(days_of_month=["0"]), "/time_intervals/0/days_of_month/0", "is no day of the month"),
    ("no date", within(dates=["2026-02-30"]), "/time_intervals/0/dates/0", "'2026-02-30' is no date; write 2026-12-24"),
    ("two intervals of a name", {"route": {}, "time_intervals": [{"name": "n"}, {"name": "n"}]}, "/time_intervals/1/name", "There are two time intervals 'n'"),
    ("six levels", {"route": nested(6)}, "/route" + "/routes/0" * 6, "Routes nest 6 deep at most"),
    ("hundreds of levels", {"route": nested(200)}, None, "levels"),
    ("too many routes", {"route": {"routes": [{"routes": [{}] * 60}, {"routes": [{}] * 60}]}}, "/route", "There are 123 routes; at most 100"),
    ("10 KB", {"route": {"channels": ["mail"]}, "inhibit_rules": [{"source_matchers": ["a=" + "x" * 490] * 30, "target_matchers": ["a=b"]}]}, "", "The tree is longer than 10,000 bytes"),
    ("no route", {}, "/route", "'route' is missing"),
    ("a text", "route", "", "the tree: write keys with their values here"),
    ("a list", [], "", "the tree: write keys"),
    ("a text for a list", {"route": {"channels": "mail"}}, "/route/channels", "channels: write a list here"),
    ("a word for a truth", below(**{"continue": "yes"}), "/route/routes/0/continue", "continue: write true or false"),
    ("a number", {"route": {"group_wait": 30}}, "/route/group_wait", "group_wait: write a text here"),
    ("a NUL", {"route": {"channels": ["\x00"]}}, "/route/channels/0", "NUL"),
]  # fmt: skip


class TestADocument:
    @pytest.mark.parametrize(
        ("document", "pointer", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
    )
    def test_is_refused_with_a_sentence_at_its_place(
        self, document: Any, pointer: str | None, sentence: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            parse_document(document, channels=["mail"])

        faults = {fault.pointer: fault.detail for fault in refused.value.errors}
        assert refused.value.status == 422
        assert sentence in (" ".join(faults.values()) if pointer is None else faults[pointer])
        assert all(detail.endswith(".") and len(detail) < 400 for detail in faults.values())

    def test_names_all_its_faults_at_once(self) -> None:
        with pytest.raises(Problem) as refused:
            parse_document(below(matchers=["a"], channels=["x"], group_wait="y"), channels=[])

        assert len(refused.value.errors) == 3


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("a: &x [1]\nb: *x", "Line 1, column 4: a reference, & or *, cannot be used here"),
            ("route: {}\nroute: {}", "Line 2, column 1: the key 'route' comes twice"),
            ("route: [", "Line 1, column 9: "),
            ("route:\n\t- x", "Line 2, column 1: "),
            ("? [a]\n: b", "a key is a word"),
            ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
            ("[" * 100, "nests deeper than 30 levels"),
            ("a: b\n---\nc: d", "Line 2, column 1: "),
            ("\x07", "characters that cannot be printed"),
            ("x" * 10_001, "longer than 10,000 bytes"),
            ("a: \x00", "NUL"),
        ],
    )
    def test_is_refused_with_a_sentence(self, text: str, sentence: str) -> None:
        with pytest.raises(Problem) as refused:
            read_tree(text)

        assert sentence in refused.value.detail

    def test_reads_times_and_dates_as_they_are_written(self) -> None:
        text = "{a: 12:30, b: 2026-12-24, c: 010, d: yes, e: true, f: 1:5, g: ~}"

        assert read_tree(text) == {
            "a": "12:30", "b": "2026-12-24", "c": "010", "d": "yes", "e": True, "f": "1:5", "g": None,
        }  # fmt: skip


class TestAMatcher:
    @pytest.mark.parametrize(
        ("text", "labels", "matches"),
        [
            ('a="b"', {"a": "b"}, True),
            ("a = b ", {"a": "b"}, True),
            ('a=""', {}, True),
            ('a!=""', {}, False),
            ('a=~"b|c"', {"a": "bc"}, False),
            ('a=~"b.*"', {"a": "bc"}, True),
            ('a!~"b.*"', {"a": "cb"}, True),
            (r'a="say \"hi\""', {"a": 'say "hi"'}, True),
            (r'a=~"\d+"', {"a": "12"}, True),
            ('tags=~".*,eu,.*"', {"tags": ",credit,eu,"}, True),
        ],
    )  # fmt: skip
    def test_covers_the_whole_value_and_takes_what_is_missing_for_empty(
        self, text: str, labels: dict[str, str], matches: bool
    ) -> None:
        matcher = Matcher.parse(text)

        assert matcher.matches(labels) == matches
        assert Matcher.parse(str(matcher)) == matcher

    def test_of_an_expression_that_others_choke_on_answers_at_once(self) -> None:
        assert not Matcher.parse('a=~"(a+)+b"').matches({"a": "a" * 100_000})


class TestLabels:
    def test_are_read_with_and_without_quotes(self) -> None:
        assert parse_labels('severity=critical, segment="a, b"\nmodel = churn,') == {
            "severity": "critical", "segment": "a, b", "model": "churn",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "text", ["severity", "severity=~a", 'a="b', ",".join(f"a{n}=b" for n in range(31))]
    )
    def test_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"write|quote"):
            parse_labels(text)


class TestLengths:
    @pytest.mark.parametrize("text", ["0s", "30s", "5m", "1h30m", "1d12h", "2w"])
    def test_are_written_as_they_are_read(self, text: str) -> None:
        assert write_length(parse_length(text)) == text

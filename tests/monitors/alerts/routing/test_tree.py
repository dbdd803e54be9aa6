"""Which routes take an incident: as a model of few lines says, for random trees, and in trees to read."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.base.yaml_text import write_yaml
from monitors.alerts.routing.document import MAX_BYTES, MAX_ROUTES
from monitors.alerts.routing.parsing import default_document, parse_document, tree_of_document
from monitors.alerts.routing.tree import AlertRoute
from monitors.alerts.routing.yaml_text import read_tree
from tests.monitors.alerts.routing.plain_routing import destinations, seconds

EXAMPLES = int(os.environ.get("DRIFTLINE_TEST_ROUTING_EXAMPLES", 3 * settings().max_examples))
"""Random trees of a run; 10,000 take some minutes."""
NAMES = ("model", "metric", "severity", "kind")
VALUES = ("", "a", "b", "ab", "critical")
GUIDE = Path(__file__).parents[4] / "docs/guides/alerts.md"
CHANNELS = ("mail", "pager", "chat")

labels = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
values = st.sampled_from((*VALUES, "a|b", "a.*", ".+", "[ab]*", "crit.*|"))
matchers = st.builds(
    lambda name, operator, value: f'{name}{operator}"{value}"',
    st.sampled_from(NAMES), st.sampled_from(("=", "!=")), st.sampled_from(VALUES),
) | st.builds(
    lambda name, operator, value: f'{name}{operator}"{value}"',
    st.sampled_from(NAMES), st.sampled_from(("=~", "!~")), values,
)  # fmt: skip
own = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.lists(st.sampled_from(CHANNELS), unique=True, max_size=3),
        "group_wait": st.sampled_from(("0s", "30s", "1m")),
        "group_interval": st.sampled_from(("1m", "5m")),
        "repeat_interval": st.sampled_from(("1h", "1d")),
    },
)


def routes(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    below = st.lists(routes(depth - 1), max_size=3) if depth else st.just([])
    node = st.fixed_dictionaries(
        {"matchers": st.lists(matchers, max_size=2), "continue": st.booleans(), "routes": below}
    )
    return st.builds(lambda one, more: one | more, node, own)


def is_within_limits(root: dict[str, Any]) -> bool:
    """Tell whether a tree is small enough, as YAML and as JSON."""
    length = max(len(write_yaml({"route": root})), len(json.dumps({"route": root})))
    return length <= MAX_BYTES and json.dumps(root).count('"continue"') < MAX_ROUTES


roots = st.builds(lambda one, more: {"routes": one} | more, st.lists(routes(3), max_size=4), own).filter(
    is_within_limits
)


def said(route: AlertRoute) -> dict[str, Any]:
    """Write what a route says as the plain model does."""
    return {
        "channels": None if route.channels is None else list(route.channels),
        "group_wait": route.group_wait.total_seconds(),
        "group_interval": route.group_interval.total_seconds(),
        "repeat_interval": route.repeat_interval and route.repeat_interval.total_seconds(),
    }


class TestAnyTree:
    @pytest.mark.slow
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(root=roots, alerts=st.lists(labels, min_size=1, max_size=5))
    def test_sends_an_incident_where_the_model_of_a_few_lines_does(
        self, root: dict[str, Any], alerts: list[dict[str, str]]
    ) -> None:
        _, tree = parse_document({"route": root})

        for one in alerts:
            expected = [
                {
                    "channels": found["channels"],
                    **{
                        key: seconds(found[key])
                        for key in ("group_wait", "group_interval", "repeat_interval")
                    },
                }
                for found in destinations(root, one)
            ]
            assert [said(chain[-1]) for chain in tree.resolve(one)] == expected

    @pytest.mark.slow
    @settings(max_examples=EXAMPLES // 3, deadline=None)
    @given(root=roots)
    def test_reads_the_same_after_it_was_written_as_yaml(self, root: dict[str, Any]) -> None:
        document, tree = parse_document({"route": root})

        text = write_yaml(document.plain())

        assert parse_document(read_tree(text))[1] == tree


class TestResolving:
    def test_ends_at_the_first_route_that_matches_unless_that_continues(self) -> None:
        _, tree = parse_document(
            {
                "route": {
                    "channels": ["mail"],
                    "routes": [
                        {"matchers": ["severity=critical"], "channels": ["pager"], "continue": True},
                        {"matchers": ['model=~"churn|credit"'], "channels": ["chat"]},
                        {"matchers": ["severity!=notice"], "channels": ["board"]},
                    ],
                }
            }
        )

        def channels(**labels: str) -> list[tuple[str, ...] | None]:
            return [chain[-1].channels for chain in tree.resolve(labels)]

        assert channels(severity="critical", model="churn") == [("pager",), ("chat",)]
        assert channels(severity="critical", model="churn-2") == [("pager",), ("board",)]
        assert channels(severity="warning", model="credit") == [("chat",)]
        assert channels(severity="notice", model="other") == [("mail",)]

    def test_of_the_default_tree_reminds_of_what_is_critical_once_a_day(self) -> None:
        tree = tree_of_document(default_document())

        (critical,), (warning,) = (
            [chain[-1] for chain in tree.resolve({"severity": severity})]
            for severity in ("critical", "warning")
        )

        assert (critical.channels, critical.repeat_interval and critical.repeat_interval.days) == (None, 1)
        assert (warning.channels, warning.repeat_interval) == (None, None)


class TestTheGuide:
    def test_shows_a_tree_that_can_be_saved(self) -> None:
        blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        [text] = (block for block in blocks if "\nroute:" in f"\n{block}")

        _, tree = parse_document(
            read_tree(text), channels=["Team mail", "Pager", "Head of data", "Risk chat"]
        )

        taken = tree.resolve({"severity": "critical", "owner": "risk", "kind": "drift"})
        assert [chain[-1].channels for chain in taken] == [("Pager",), ("Risk chat",)]


class TestInhibition:
    @pytest.mark.parametrize(
        ("labels", "by", "is_inhibited"),
        [
            ({"kind": "drift", "feature": "age"}, {"kind": "quality", "feature": "age"}, True),
            ({"kind": "drift", "feature": "age"}, {"kind": "quality", "feature": "income"}, False),
            ({"kind": "drift", "feature": ""}, {"kind": "quality", "feature": ""}, False),
            ({"kind": "performance"}, {"kind": "service", "metric": "volume_ratio"}, True),
            ({"kind": "performance", "model": "other"}, {"kind": "service", "metric": "silence"}, False),
            ({"kind": "drift", "severity": "notice"}, {"kind": "performance", "severity": "critical"}, True),
            (
                {"kind": "drift", "severity": "warning"},
                {"kind": "performance", "severity": "critical"},
                False,
            ),
        ],
    )
    def test_by_the_usual_rules(self, labels: dict[str, str], by: dict[str, str], is_inhibited: bool) -> None:
        rules = tree_of_document(default_document()).inhibit_rules
        labels, by = {"model": "churn"} | labels, {"model": "churn"} | by

        assert any(rule.inhibits(labels, by) for rule in rules) == is_inhibited

    def test_does_not_silence_two_that_each_would_explain_the_other(self) -> None:
        rule = {"source_matchers": ["a!=x"], "target_matchers": ["b!=x"]}
        _, tree = parse_document({"route": {}, "inhibit_rules": [rule]})

        assert not tree.inhibit_rules[0].inhibits({"a": "1"}, {"a": "2"})

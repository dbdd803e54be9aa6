"""The boards of models and of the fleet ask for what `/metrics/models` really has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from driftline.operations.observability.model_metrics import FAMILIES
from tests.driftline.api.promql import metrics_of

FOLDER = Path(__file__).resolve().parents[3] / "docs/examples"
BOARDS = {name: json.loads((FOLDER / f"grafana-{name}.json").read_text()) for name in ("fleet", "models")}
EXPRESSIONS = [
    (name, target["expr"])
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]
WORDS = {"or", "vector"}


@pytest.mark.parametrize(("board", "expression"), EXPRESSIONS)
def test_each_query_names_metrics_and_labels_of_the_page(board: str, expression: str) -> None:
    asked = [(name, labels) for name, labels in metrics_of(expression) if name not in WORDS]

    assert asked
    for name, labels in asked:
        assert labels <= set(FAMILIES[name][1])


@pytest.mark.parametrize("board", BOARDS)
def test_each_choice_is_of_a_label_of_the_page(board: str) -> None:
    lookups = [one["definition"] for one in BOARDS[board]["templating"]["list"] if one["type"] == "query"]

    assert lookups
    for lookup in lookups:
        match = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", lookup)
        assert match is not None
        assert {match[3], *re.findall(r"(\w+)=~", match[2] or "")} <= set(FAMILIES[match[1]][1])


@pytest.mark.parametrize("board", BOARDS)
def test_each_panel_has_a_place_of_its_own_and_a_description(board: str) -> None:
    panels: list[dict[str, Any]] = BOARDS[board]["panels"]
    cells = [
        (column, row)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(cells)) == len(cells)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
def test_each_query_is_understood_by_prometheus(tmp_path: Path) -> None:
    rules = [
        {"record": f"board:query{place}", "expr": re.sub(r"\$\w+", ".*", expression)}
        for place, (_, expression) in enumerate(EXPRESSIONS)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "boards", "rules": rules}]}))

    checked = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr

"""A device is a segment: its rows are summarised by themselves, and so are those of its group."""

from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.edge.groups import create_group
from monitors.definitions.segments import declare_segment
from monitors.summaries.models import Summary
from tests.inference.edge.fleet import add_agent, add_version, make_group
from tests.worlds.approvals import work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def test_rows_of_devices_are_summarised_by_device_and_by_group(settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    trucks = make_group(Project.objects.create(slug="ours", name="Ours"))
    vans = create_group(model=trucks.model, name="vans", actor="test")
    add_version(trucks.model, "1")
    for tag, value in (("device", "first"), ("device_group", "trucks")):
        declare_segment(
            model=trucks.model, conditions=[{"tag": tag, "value": value}], name=value, actor="test"
        )
    agents = [add_agent(trucks, "first"), add_agent(trucks, "second"), add_agent(vans, "van")]

    for agent, rows in zip(agents, (3, 4, 5), strict=True):
        assert agent.send(*range(1, rows + 1)).json()["accepted"] == rows
    work(trucks.model)

    summaries = Summary.objects.filter(model=trucks.model, span="day").values_list("segment", "rows")
    assert dict(summaries) == {"": 12, "first": 3, "trucks": 7}

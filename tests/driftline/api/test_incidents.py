"""The list of incidents and its filters."""

import pytest

from monitors.alerts.models import Incident
from tests.driftline.api.conftest import Api
from tests.driftline.api.listed_objects import add_incident
from tests.worlds.every_kind import World, furnish


@pytest.fixture
def world(api: Api) -> World:
    return furnish(api.project)


def test_are_listed_by_severity(api: Api, world: World) -> None:
    critical = add_incident(world, 1)  # beside one that only warns
    Incident.objects.filter(pk=critical.pk).update(severity="critical")

    found = api.get("/incidents?severity=critical").json()["items"]

    assert [one["id"] for one in found] == [critical.pk]
    assert len(api.get("/incidents").json()["items"]) == 2

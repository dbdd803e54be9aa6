"""The share of rows that the devices of a group send whole is a policy of the group, which manifests carry."""

import pytest

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from inference.edge.groups import change_group, create_group
from inference.edge.models import DeviceGroup
from inference.registry.services import create_model
from tests.inference.edge.fleet import add_agent, release


def test_comes_to_devices_with_their_next_manifest(group: DeviceGroup) -> None:
    release(group, "1")
    agent = add_agent(group, "truck")
    before = agent.poll()

    change_group(group=group, sampling=0.1, actor="test")

    after = agent.poll()
    assert before is not None
    assert after is not None
    assert (before["sampling"], after["sampling"]) == (1.0, 0.1)


def test_is_audited(group: DeviceGroup) -> None:
    change_group(group=group, sampling=0.1, actor="a@example.com")

    entry = AuditEntry.objects.get(action="device_group.update")
    assert (entry.actor, entry.before, entry.after) == ("a@example.com", {"sampling": 1.0}, {"sampling": 0.1})


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_that_is_no_share_is_refused(share: float, group: DeviceGroup) -> None:
    with pytest.raises(Problem) as refused:
        change_group(group=group, sampling=share, actor="test")

    assert refused.value.errors[0].pointer == "/sampling"


def test_of_a_ranking_is_all_its_rows(db: None) -> None:
    project = Project.objects.create(slug="ours", name="Ours")
    model = create_model(project=project, name="search", task="ranking", actor="test")

    create_group(model=model, name="kiosks", actor="test")
    with pytest.raises(Problem, match="queries"):
        create_group(model=model, name="boxes", actor="test", sampling=0.5)

"""A release goes over the devices ring by ring, and back where too many of them fail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.errors import Problem
from inference.edge.enrolment import revoke_device
from inference.edge.models import SILENT_AFTER, Device, DeviceGroup, Release
from inference.edge.releases import abort_release, start_release
from inference.registry.versions import archive_version
from monitors.deletion import delete_version
from monitors.feed.models import FeedEvent
from tests.inference.edge.fleet import Agent, add_agent, add_agents, add_version, release

pytestmark = pytest.mark.slow


def now() -> datetime:
    return datetime.now(UTC)


def complete(group: DeviceGroup, version: str, agents: list[Agent]) -> None:
    """Bring a version to all agents at once."""
    release(group, version, rings=(100,))
    for agent in agents:
        agent.report()


def with_version(agents: list[Agent], version: str) -> list[Agent]:
    return [agent for agent in agents if agent.assigned() == version]


def long_ago() -> datetime:
    return now() - SILENT_AFTER - timedelta(minutes=1)


def pass_an_hour(moving: Release, *silent: Agent) -> None:
    """Let the ring have begun so long ago that these devices, which said nothing since, are silent."""
    Release.objects.filter(pk=moving.pk).update(ring_began_at=long_ago())
    Device.objects.filter(pk__in=[agent.device.pk for agent in silent]).update(last_seen_at=long_ago())


class TestRings:
    def test_come_one_after_the_other_as_their_devices_report(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 20)
        complete(group, "1", agents)

        moving = release(group, "2")
        sizes = []
        while len(ring := with_version(agents, "2")) < len(agents):
            sizes.append(len(ring))
            for agent in ring:
                agent.report()

        assert sizes == [1, 2]
        for agent in agents:
            agent.report()
        moving.refresh_from_db()
        assert moving.state == "completed"

    def test_do_not_go_on_before_their_last_device_has_reported(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        release(group, "2", rings=(50, 100))

        first, second = with_version(agents, "2")
        first.report()
        waiting = len(with_version(agents, "2"))
        second.report()

        assert (waiting, len(with_version(agents, "2"))) == (2, 4)

    def test_are_not_held_up_by_a_device_that_is_silent(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        moving = release(group, "2", rings=(50, 100))
        first, silent = with_version(agents, "2")
        pass_an_hour(moving, silent)

        first.report()

        assert len(with_version([one for one in agents if one is not silent], "2")) == 3

    def test_give_each_device_an_hour_also_after_the_server_was_away(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        moving = release(group, "2", rings=(25, 50, 100))
        pass_an_hour(moving, *agents)

        with_version(agents, "2")[0].report()

        moving.refresh_from_db()
        assert (moving.state, moving.ring) == ("running", 1)

    def test_need_a_device_of_their_own_that_tried_the_version(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        moving = release(group, "2", rings=(25, 50, 100))
        first = with_version(agents, "2")[0]
        first.report()
        pass_an_hour(moving, *(agent for agent in agents if agent is not first))

        first.report()

        moving.refresh_from_db()
        assert (moving.state, moving.ring) == ("running", 1)

    def test_have_silent_devices_last(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 6)
        complete(group, "1", agents)
        silent = [agent.device.pk for agent in agents[:5]]
        Device.objects.filter(pk__in=silent).update(last_seen_at=long_ago())

        moving = release(group, "2", rings=(10, 50, 100))

        rings = dict(moving.targets.values_list("device_id", "ring"))
        assert rings == {agents[5].device.pk: 0} | dict.fromkeys(silent, 2)

    def test_wait_while_all_their_devices_are_silent(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        Device.objects.update(last_seen_at=long_ago())

        moving = release(group, "2", rings=(50, 100))

        moving.refresh_from_db()
        assert (moving.state, moving.ring) == ("running", 0)

    def test_differ_from_release_to_release(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 12)
        complete(group, "1", agents)
        first = set()

        for version in ("2", "3", "4", "5"):
            moving = release(group, version)
            first |= {agent.device.name for agent in with_version(agents, version)}
            abort_release(release=moving, reason="enough", actor="test", now=now())

        assert len(first) > 1

    def test_give_a_device_that_comes_later_the_version_at_last(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 2)
        complete(group, "1", agents)
        release(group, "2", rings=(50, 100))

        later = add_agent(group, "later")

        assert later.assigned() == "1"
        for agent in with_version(agents, "2"):
            agent.report()
        assert later.assigned() == "2"

    def test_of_a_group_without_devices_are_over_at_once(self, group: DeviceGroup) -> None:
        release(group, "1")

        assert add_agent(group, "first").assigned() == "1"

    def test_go_on_where_the_last_device_that_they_waited_for_is_revoked(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 4)
        complete(group, "1", agents)
        release(group, "2", rings=(50, 100))
        first, stolen = with_version(agents, "2")
        first.report()

        revoke_device(device=stolen.device, actor="test", now=now())

        assert len(with_version([one for one in agents if one is not stolen], "2")) == 3

    @pytest.mark.parametrize("rings", [[], [100, 100], [10, 5, 100], [1, 10], [0, 100], [1, 200]])
    def test_that_do_not_rise_to_a_hundred_are_refused(self, rings: list[int], group: DeviceGroup) -> None:
        add_version(group.model, "1")

        with pytest.raises(Problem) as refused:
            start_release(group=group, version="1", rings=rings, actor="test", now=now())

        assert refused.value.errors[0].pointer == "/rings"


def test_the_devices_of_all_releases_are_counted_by_one_query(
    group: DeviceGroup, django_assert_num_queries: Any
) -> None:
    agents = add_agents(group, 3)
    complete(group, "1", agents)
    release(group, "2", rings=(100,))
    agents[0].report()

    with django_assert_num_queries(1):
        counted = list(Release.objects.with_counts().order_by("pk"))

    counts = [(one.devices, one.succeeded, one.failed, one.waiting) for one in counted]
    assert counts == [(3, 3, 0, 0), (3, 1, 0, 2)]


class TestAbortion:
    def test_comes_by_itself_where_the_first_ring_fails(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 20)
        complete(group, "1", agents)
        bad = release(group, "2")

        for agent in with_version(agents, "2"):
            agent.report("it answers NaN")

        bad.refresh_from_db()
        assert (bad.state, bad.reason) == ("aborted", "1 of 1 devices at 1 % failed")
        assert len(with_version(agents, "1")) == 20

    def test_needs_more_failures_than_the_threshold(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 10)
        complete(group, "1", agents)
        moving = release(group, "2", rings=(100,))

        states = []
        for agent in agents[:3]:
            agent.report("it answers NaN")
            moving.refresh_from_db()
            states.append(moving.state)

        assert states == ["running", "running", "aborted"]

    def test_counts_a_device_that_fails_after_it_had_succeeded(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 2)
        complete(group, "1", agents)
        bad = release(group, "2", rings=(50, 100))
        first = with_version(agents, "2")[0]
        first.report()

        first.report("5 requests in a row failed")

        bad.refresh_from_db()
        assert bad.state == "aborted"

    def test_raises_the_generation_so_that_devices_take_what_is_older(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 1)
        complete(group, "1", agents)
        bad = release(group, "2")
        with_bad = agents[0].poll()

        abort_release(release=bad, reason="looks wrong", actor="a@example.com", now=now())

        after = agents[0].poll()
        assert with_bad is not None
        assert after is not None
        assert (with_bad["version"], after["version"]) == ("2", "1")
        assert after["generation"] > with_bad["generation"]

    def test_of_a_release_that_has_ended_is_refused(self, group: DeviceGroup) -> None:
        moving = release(group, "1")

        with pytest.raises(Problem, match="completed already"):
            abort_release(release=moving, reason="", actor="test", now=now())

    def test_lets_the_next_release_begin(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 1)
        bad = release(group, "1")
        with pytest.raises(Problem, match="on its way"):
            release(group, "2")
        abort_release(release=bad, reason="", actor="test", now=now())

        start_release(group=group, version="2", actor="test", now=now())

        assert agents[0].assigned() == "2"

    def test_is_not_undone_by_a_late_report(self, group: DeviceGroup) -> None:
        agents = add_agents(group, 2)
        complete(group, "1", agents)
        bad = release(group, "2", rings=(100,))
        late = agents[0].poll()
        assert late is not None
        abort_release(release=bad, reason="", actor="test", now=now())

        agents[0].post("status", {"release": late["release"], "version": "2"})

        bad.refresh_from_db()
        assert bad.state == "aborted"
        assert len(with_version(agents, "1")) == 2


def test_people_hear_of_a_release_that_was_aborted(group: DeviceGroup) -> None:
    agents = add_agents(group, 1)
    release(group, "1")

    agents[0].report("it answers NaN")

    event = FeedEvent.objects.get(kind="release.aborted")
    assert event.text == (
        "fuel: the release of version 1 to trucks was aborted: 1 of 1 devices at 1 % failed"
    )
    assert event.path == f"/devices/groups/{group.pk}"


def test_a_release_is_audited_from_its_start_to_its_end(group: DeviceGroup) -> None:
    agents = add_agents(group, 2)
    release(group, "1", rings=(50, 100))
    for _ in range(2):
        for agent in with_version(agents, "1"):
            agent.report()

    entries = AuditEntry.objects.filter(action__startswith="release.").order_by("pk")

    assert [(entry.action, entry.actor) for entry in entries] == [
        ("release.start", "a@example.com"),
        ("release.advance", "the release itself"),
        ("release.complete", "the release itself"),
    ]


def test_a_version_that_is_on_devices_cannot_be_archived(group: DeviceGroup) -> None:
    moving = release(group, "1")

    with pytest.raises(Problem, match="on the devices of trucks; release another version there, and revoke"):
        archive_version(version=moving.version, is_archived=True, actor="test")


def test_a_version_that_is_on_devices_cannot_be_deleted(group: DeviceGroup) -> None:
    moving = release(group, "1")

    with pytest.raises(Problem, match="on the devices of trucks; release another version there") as refused:
        delete_version(version=moving.version, confirm="1", actor="test")

    assert (refused.value.status, refused.value.code) == (409, "version_in_use")


def test_a_version_that_a_silent_device_still_has_cannot_be_archived(group: DeviceGroup) -> None:
    agents = add_agents(group, 2)
    complete(group, "1", agents)
    Device.objects.filter(pk=agents[0].device.pk).update(last_seen_at=long_ago())
    moving = release(group, "2", rings=(100,))
    pass_an_hour(moving, agents[0])
    agents[1].report()
    moving.refresh_from_db()
    assert moving.state == "completed"
    first = group.model.versions.get(version="1")

    with pytest.raises(Problem, match="on the devices of trucks"):
        archive_version(version=first, is_archived=True, actor="test")

    revoke_device(device=agents[0].device, actor="test", now=now())
    archive_version(version=first, is_archived=True, actor="test")


def test_a_version_without_a_file_cannot_be_released(group: DeviceGroup) -> None:
    group.model.versions.create(version="external")

    with pytest.raises(Problem, match="has no file"):
        start_release(group=group, version="external", actor="test", now=now())

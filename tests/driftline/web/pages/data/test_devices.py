"""The pages of devices: groups, enrolment with a code that is shown once, releases, revocation."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Membership, Project, User
from driftline.base.accounts.services import create_project
from inference.edge.enrolment import enrol, revoke_device
from inference.edge.groups import create_group
from inference.edge.models import Device, DeviceGroup, Release
from inference.edge.releases import start_release
from inference.registry.services import create_model
from tests.inference.edge.fleet import add_agent, add_agents, add_version, make_group

PATH = "/p/ours/devices/"


@pytest.fixture
def project(db: None, settings: Any, tmp_path: Path) -> Project:
    settings.HOME = tmp_path
    owner = User.objects.create_user("owner@ours.example")
    return create_project(slug="ours", name="Ours", owner=owner)


@pytest.fixture
def owner(project: Project) -> Client:
    client = Client()
    client.force_login(User.objects.get(email="owner@ours.example"))
    return client


@pytest.fixture
def viewer(project: Project) -> Client:
    user = User.objects.create_user("viewer@ours.example")
    Membership.objects.create(project=project, user=user, role="viewer")
    client = Client()
    client.force_login(user)
    return client


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def page_of(group: DeviceGroup) -> str:
    return f"{PATH}groups/{group.pk}"


class TestDeletion:
    def test_ends_a_group_that_was_made_by_mistake(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        assert "Delete trucks" in text_of(owner.get(page_of(group)))

        answer = owner.post(page_of(group), {"do": "delete"}, follow=True)

        assert "The group trucks is deleted." in text_of(answer)
        assert not DeviceGroup.objects.exists()

    def test_is_refused_where_a_device_was_also_a_revoked_one(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agent = add_agent(group, "truck")
        revoke_device(device=agent.device, actor="test", now=datetime.now(UTC))

        answer = owner.post(page_of(group), {"do": "delete"}, follow=True)

        assert "trucks has or had devices" in text_of(answer)
        assert "Delete trucks" not in text_of(answer)
        assert DeviceGroup.objects.exists()


class TestTheList:
    def test_says_what_a_group_is_where_there_is_none(self, owner: Client) -> None:
        text = text_of(owner.get(PATH))

        assert "No group of devices yet." in text
        assert "Make a group" in text

    def test_names_groups_and_devices_with_what_the_agents_said_last(
        self, owner: Client, project: Project
    ) -> None:
        group = make_group(project)
        agent = add_agent(group, "truck")
        agent.post(
            "status",
            {
                "version": "7",
                "runs_on": "cuda, 3 of 5 nodes",
                "skew_ms": 3 * 3_600_000 + 5,
                "unsent_rows": 12,
                "dropped_rows": 3,
            },
        )

        text = text_of(owner.get(PATH))

        assert "runs on cuda, 3 of 5 nodes" in text
        assert "3 hours behind" in text
        assert "3 dropped: no room, or refused" in text
        assert all(part in text for part in ("trucks", "truck", "fuel", "Active", "> 7 <"))

    @pytest.mark.parametrize(
        ("skew_ms", "said"),
        [
            (0, "within a second"),
            (-999, "within a second"),
            (1_000, "1,000 ms behind"),
            (-90_000, "90 s ahead"),
        ],
    )
    def test_says_how_far_a_clock_is_off_as_far_as_a_device_can_know(
        self, skew_ms: int, said: str, owner: Client, project: Project
    ) -> None:
        add_agent(make_group(project), "truck").post("status", {"skew_ms": skew_ms})

        assert said in text_of(owner.get(PATH))

    def test_has_revoked_devices_last(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        for name in ("alpha", "beta", "gamma"):
            add_agent(group, name)
        revoke_device(device=Device.objects.get(name="alpha"), actor="test", now=datetime.now(UTC))

        names = re.findall(r'<th scope="row"> (\w+) <small>', text_of(owner.get(PATH)))

        assert names == ["beta", "gamma", "alpha"]

    def test_asks_no_more_of_the_database_for_more_groups(
        self, owner: Client, project: Project, django_assert_num_queries: Any
    ) -> None:
        first = make_group(project)
        owner.get(PATH)
        with CaptureQueriesContext(connection) as of_one:
            owner.get(PATH)
        for name in ("vans", "cars"):
            create_group(model=first.model, name=name, actor="test")

        with django_assert_num_queries(len(of_one)):
            owner.get(PATH)

    def test_has_nothing_of_another_project(self, owner: Client) -> None:
        stranger = create_project(
            slug="theirs", name="Theirs", owner=User.objects.create_user("x@example.com")
        )
        theirs = make_group(stranger, "vans")
        add_agent(theirs, "van")

        assert "van" not in text_of(owner.get(PATH))
        assert owner.get(page_of(theirs)).status_code == 404

    def test_makes_a_group(self, owner: Client, project: Project) -> None:
        create_model(project=project, name="fuel", task="regression", actor="test")

        owner.post(PATH, {"do": "create", "name": "trucks", "model": "fuel", "sampling": "25"})

        group = DeviceGroup.objects.get()
        assert (group.model.name, group.sampling) == ("fuel", 0.25)

    def test_says_why_a_group_cannot_be_made(self, owner: Client, project: Project) -> None:
        make_group(project)

        answer = owner.post(PATH, {"do": "create", "name": "trucks", "model": "fuel", "sampling": "100"})

        assert answer.status_code == 422
        assert "There is a group trucks already" in text_of(answer)


class TestSampling:
    def test_is_changed_on_the_page_of_the_group(self, owner: Client, project: Project) -> None:
        group = make_group(project)

        text = text_of(owner.post(page_of(group), {"do": "settings", "sampling": "12.5"}, follow=True))

        group.refresh_from_db()
        assert group.sampling == 0.125
        assert "They send 12.5 % of their rows whole, and hourly summaries of the others." in text

    def test_devices_are_let_ask_the_server(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        sent = {"do": "settings", "sampling": "100", "ask_after_days": "30"}

        text = text_of(owner.post(page_of(group), sent, follow=True))

        group.refresh_from_db()
        assert (group.ask_below, group.ask_after_days) == (None, 30)
        assert "once their version was released more than 30 days ago" in text

    def test_a_confidence_for_a_regression_is_refused_on_the_form(
        self, owner: Client, project: Project
    ) -> None:
        group = make_group(project)

        answer = owner.post(page_of(group), {"do": "settings", "sampling": "100", "ask_below": "70"})

        assert answer.status_code == 422
        assert "has no confidence" in text_of(answer)

    @pytest.mark.parametrize("share", ["", "-1", "101", "nan"])
    def test_that_is_no_share_is_refused(self, share: str, owner: Client, project: Project) -> None:
        group = make_group(project)

        assert owner.post(page_of(group), {"do": "settings", "sampling": share}).status_code == 422

        group.refresh_from_db()
        assert group.sampling == 1.0


class TestEnrolment:
    def test_shows_the_code_once(self, owner: Client, project: Project) -> None:
        group = make_group(project)

        shown = text_of(owner.post(page_of(group), {"do": "device", "name": "truck"}))

        code = re.search(r"dl_enrol_[0-9a-f]{32}", shown)
        assert code is not None
        assert code[0] not in text_of(owner.get(page_of(group)))
        assert enrol(code=code[0], agent="", machine="", now=datetime.now(UTC)) is not None

    def test_shows_another_code_after_a_question(self, owner: Client, project: Project) -> None:
        device = add_agent(make_group(project), "truck").device

        asked = text_of(owner.get(f"{PATH}{device.pk}/code"))
        shown = text_of(owner.post(f"{PATH}{device.pk}/code"))

        assert "dl_enrol_" not in asked
        assert "dl_enrol_" in shown

    def test_is_nothing_that_a_viewer_is_offered(self, viewer: Client, project: Project) -> None:
        text = text_of(viewer.get(page_of(make_group(project))))

        assert "Enrol a device" not in text
        assert "Release a version" not in text


class TestReleases:
    @pytest.mark.slow
    def test_start_and_show_how_far_they_are(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agents = add_agents(group, 3)
        add_version(group.model, "1")

        owner.post(page_of(group), {"do": "release", "version": "1", "rings": "50, 100", "percent": "20"})

        assert "has come to 50 % of the devices: 0 of 3 answer with it" in text_of(owner.get(page_of(group)))
        for agent in [one for one in agents if one.assigned()]:
            agent.report()
        assert "has come to 100 % of the devices: 2 of 3 answer with it" in text_of(owner.get(page_of(group)))

    def test_are_aborted_by_a_button(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        add_agents(group, 1)
        add_version(group.model, "1")
        start_release(group=group, version="1", actor="test", now=datetime.now(UTC))

        owner.post(page_of(group), {"do": "abort"})

        assert Release.objects.get().reason == "by owner@ours.example"

    def test_that_ended_meanwhile_are_aborted_no_more(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agent = add_agent(group, "truck")
        add_version(group.model, "1")
        start_release(group=group, version="1", rings=[100], actor="test", now=datetime.now(UTC))
        agent.report()

        answer = owner.post(page_of(group), {"do": "abort"}, follow=True)

        assert answer.status_code == 200
        assert "No release is under way in this group." in text_of(answer)

    def test_that_are_aborted_first_stay_on_devices_that_have_them(
        self, owner: Client, project: Project
    ) -> None:
        group = make_group(project)
        agents = add_agents(group, 2)
        add_version(group.model, "1")
        start_release(group=group, version="1", rings=[50, 100], actor="test", now=datetime.now(UTC))
        [first] = [one for one in agents if one.assigned()]
        first.report()

        answer = text_of(owner.post(page_of(group), {"do": "abort"}, follow=True))

        assert "Version 1 is aborted; there is none to go back to" in answer
        assert "The release of version 1 was aborted, and there was no version to go back to" in answer

    def test_say_which_versions_are_in_the_field(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agents = add_agents(group, 4)
        add_version(group.model, "1")
        start_release(group=group, version="1", rings=[100], actor="test", now=datetime.now(UTC))
        for agent in agents[:3]:
            agent.report()
        revoke_device(device=agents[0].device, actor="test", now=datetime.now(UTC))

        text = text_of(owner.get(page_of(group)))

        assert "Versions in the field: 1 on 2 devices, none on 1 device." in text

    @pytest.mark.slow
    def test_show_why_devices_failed_also_once_they_have_ended(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agents = add_agents(group, 2)
        for version in ("1", "2"):
            add_version(group.model, version)
        start_release(group=group, version="1", rings=[100], actor="test", now=datetime.now(UTC))
        for agent in agents:
            agent.report()
        start_release(group=group, version="2", actor="test", now=datetime.now(UTC))
        [first] = [one for one in agents if one.assigned() == "2"]
        first.report("it answers NaN")
        first.report()  # with the earlier version, which it is assigned again

        text = text_of(owner.get(page_of(group)))

        assert "Aborted" in text
        assert f"<small>{first.device.name}: it answers NaN</small>" in text

    def test_show_why_devices_failed(self, owner: Client, project: Project) -> None:
        group = make_group(project)
        agent = add_agent(group, "truck")
        add_version(group.model, "1")
        start_release(group=group, version="1", actor="test", now=datetime.now(UTC))

        agent.report("the model answers NaN")

        text = text_of(owner.get(page_of(group)))
        assert "1 of 1 devices at 1 % failed" in text
        assert "the model answers NaN" in text

    @pytest.mark.parametrize("rings", ["", "a", "1; 100", "1, 10", "100, 1", "1e2"])
    def test_with_rings_that_are_none_are_refused(self, rings: str, owner: Client, project: Project) -> None:
        group = make_group(project)
        add_version(group.model, "1")

        form = {"do": "release", "version": "1", "rings": rings, "percent": "20"}
        answer = owner.post(page_of(group), form)

        assert answer.status_code == 422
        assert not Release.objects.exists()


def test_a_device_is_revoked_after_a_question(owner: Client, project: Project) -> None:
    agent = add_agent(make_group(project), "truck")

    asked = text_of(owner.get(f"{PATH}{agent.device.pk}/revoke"))
    owner.post(f"{PATH}{agent.device.pk}/revoke")

    assert "Revoke the device truck?" in asked
    assert Device.objects.get().revoked_at is not None
    assert agent.get("assignment").status_code == 401

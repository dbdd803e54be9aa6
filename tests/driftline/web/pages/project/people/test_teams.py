"""Teams on pages and over the API: their members, their models, and e-mails that go to them."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.members import remove_member
from driftline.base.accounts.models import AuditEntry, Membership, Project, Team, User
from driftline.base.accounts.services import create_project
from driftline.base.accounts.teams import create_team
from inference.registry.models import Model
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending import channel_services, outbox
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

PAGE = "/settings/teams"
OWNER, VIEWER = "owner@bank.example", "viewer@bank.example"


@pytest.fixture
def team(project: Project, db: None) -> Team:
    viewer_of(project)
    return create_team(project=project, name="risk", emails=[OWNER, VIEWER], actor="test")


@pytest.fixture
def channel(project: Project, db: None) -> Channel:
    return channel_services.create_channel(
        project=project, kind="email", name="risk mail", target="@risk", actor="test"
    )[0]


def send_test(channel: Channel) -> Delivery:
    delivery = channel_services.send_test(channel=channel, actor="test")
    outbox.send_due_deliveries()
    delivery.refresh_from_db()
    return delivery


class TestPages:
    def test_list_members_models_and_channels(
        self, client: Client, team: Team, channel: Channel, model: Model
    ) -> None:
        Model.objects.update(owner="risk")

        row = markup(client.get(PAGE)).split("<tbody>")[1].split("</tr>")[0]

        assert all(part in row for part in ("risk", OWNER, VIEWER, model.name, "risk mail"))

    def test_make_a_team(self, client: Client) -> None:
        client.post(PAGE, {"name": "night  shift", "members": [OWNER]})

        made = Team.objects.get()
        assert (made.name, [one.user.email for one in made.members.all()]) == ("night shift", [OWNER])
        assert AuditEntry.objects.get(action="team.create").after == {"members": [OWNER]}

    @pytest.mark.parametrize(
        ("name", "explained"),
        [("risk", "There is a team risk already"), ("@risk", "A team&#x27;s name has up to 99 letters")],
    )
    def test_refuse_a_name_with_a_sentence(
        self, client: Client, team: Team, name: str, explained: str
    ) -> None:
        answer = client.post(PAGE, {"name": name})

        assert (answer.status_code, explained in markup(answer)) == (422, True)

    def test_take_members_out_and_nobody_else_in(self, client: Client, team: Team) -> None:
        User.objects.create_user("eve@shop.example")

        refused = client.post(f"{PAGE}/{team.pk}", {"members": ["eve@shop.example"]})
        client.post(f"{PAGE}/{team.pk}", {"members": [VIEWER]})

        assert refused.status_code == 422
        assert [one.user.email for one in team.members.all()] == [VIEWER]

    def test_ask_before_a_team_is_deleted(self, client: Client, team: Team, channel: Channel) -> None:
        asked = markup(client.get(f"{PAGE}/{team.pk}/remove"))

        client.post(f"{PAGE}/{team.pk}/remove")

        assert "Messages of these channels fail until they have another target: risk mail." in asked
        assert not Team.objects.exists()

    def test_of_another_project_are_not_found(self, client: Client) -> None:
        other = create_project(slug="shop", name="Shop", owner=User.objects.create_user("eve@shop.example"))
        theirs = create_team(project=other, name="theirs", emails=[], actor="test")

        assert client.get(f"{PAGE}/{theirs.pk}").status_code == 404
        assert client.post(f"{PAGE}/{theirs.pk}/remove").status_code == 404
        assert "theirs" not in markup(client.get(PAGE))


class TestMessages:
    def test_go_to_who_is_in_the_team_now(
        self, team: Team, channel: Channel, mailoutbox: list[Any], project: Project
    ) -> None:
        first = send_test(channel)
        remove_member(member=Membership.objects.get(user__email=VIEWER), actor="test")
        second = send_test(channel)

        assert (first.state, second.state) == ("sent", "sent")
        assert [mail.to for mail in mailoutbox] == [[OWNER, VIEWER], [OWNER]]

    def test_fail_with_the_reason_where_there_is_nobody(
        self, channel: Channel, mailoutbox: list[Any], project: Project
    ) -> None:
        other = create_project(slug="shop", name="Shop", owner=User.objects.create_user("eve@shop.example"))
        create_team(project=other, name="risk", emails=["eve@shop.example"], actor="test")
        missing = send_test(channel).reason
        create_team(project=project, name="risk", emails=[], actor="test")
        empty = send_test(channel).reason

        assert "There is no team risk in this project" in missing
        assert "Nobody is in the team risk" in empty
        assert mailoutbox == []

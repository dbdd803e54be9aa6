"""The page of routing: the tree as a list, as YAML and as a form, and who gets an incident."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Channel, Incident, StoredRouting
from monitors.alerts.routing.yaml_text import read_tree
from monitors.alerts.sending.channel_services import create_channel
from monitors.alerts.stored_routing import routing_of, save_routing
from monitors.rules.models import Rule, Transition
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient

PAGE = "/settings/routing"
DAY = timedelta(days=1)
TREE = {
    "route": {
        "channels": ["mail"],
        "routes": [
            {
                "matchers": ['severity="critical"'],
                "channels": ["pager"],
                "repeat_interval": "4h",
                "escalate_after": "1h",
                "escalate_to": ["mail"],
            },
            {"matchers": ['owner=~"risk|credit"'], "active_time_intervals": ["never"], "continue": True},
        ],
    },
    "time_intervals": [{"name": "never", "dates": ["2020-01-01"]}],
}


@pytest.fixture
def channels(project: Project, db: None) -> list[Channel]:
    return [
        create_channel(project=project, kind="email", name=name, target=f"{name}@x.example", actor="ada")[0]
        for name in ("mail", "pager")
    ]


@pytest.fixture
def tree(project: Project, channels: list[Channel]) -> dict[str, Any]:
    save_routing(project=project, document=TREE, actor="ada@bank.example")
    return TREE


class TestTheTree:
    def test_of_a_new_project_says_that_nobody_changed_it_and_what_is_missing(self, client: Client) -> None:
        shown = markup(client.get(PAGE))

        assert "This is the default tree: nobody has changed it." in shown
        assert "There is no channel yet, so nobody is notified" in shown
        assert "Goes to every channel that takes its severity · Sends at once" in shown
        assert "Reminds every 1 d until somebody acknowledges" in shown

    def test_is_listed_with_what_each_route_does(self, client: Client, tree: dict[str, Any]) -> None:
        shown = markup(client.get(PAGE))

        assert "Changed by ada@bank.example" in shown
        assert "Goes to mail · Waits 30 s for more alerts · Changes at most every 5 min" in shown
        assert "Escalates to mail after 1 h without acknowledgement" in shown
        assert "Only in never · The routes after it are tried too" in shown
        assert "<strong>never</strong>: dates 2020-01-01" in shown

    def test_may_be_read_and_not_changed_by_editors(self, project: Project, tree: dict[str, Any]) -> None:
        editor = User.objects.create_user("editor@bank.example")
        Membership.objects.create(project=project, user=editor, role=Role.EDITOR)
        client = PagesClient()
        client.force_login(editor)

        shown, refused = markup(client.get(PAGE)), client.post(PAGE, {"do": "reset"})

        assert "Save the tree" not in shown
        assert refused.status_code == 403
        assert not routing_of(project).is_default

    def test_is_shown_to_viewers(self, project: Project, tree: dict[str, Any]) -> None:
        shown = markup(viewer_of(project).get(PAGE))

        assert "Goes to pager" in shown
        assert "<textarea" not in shown


class TestChannels:
    def test_say_that_no_route_sends_to_them(
        self, client: Client, project: Project, channels: list[Channel]
    ) -> None:
        before = markup(client.get("/settings/channels"))
        save_routing(project=project, document={"route": {"channels": ["mail"]}}, actor="ada")

        after = markup(client.get("/settings/channels"))

        assert "sends to it</small>" not in before
        assert after.count("sends to it</small>") == 1
        assert "sends to it</small>" in after.split("pager")[1]

    def test_that_a_route_names_are_not_deleted(
        self, client: Client, channels: list[Channel], tree: dict[str, Any]
    ) -> None:
        answer = client.post(f"/settings/channels/{channels[0].pk}", {"do": "delete"}, follow=True)

        assert "The routing tree sends to mail; take it out of the tree first" in markup(answer)


class TestAnIncident:
    @pytest.fixture
    def incident(self, project: Project, model: Model, channels: list[Channel]) -> Incident:
        now = datetime.now().astimezone()
        rule = Rule.objects.create(
            project=project, model=model, name='the "worst"', metric="log_loss", threshold=0.5, cooldown=DAY,
            notify_within=DAY, severity="critical",
        )  # fmt: skip
        fired = Transition.objects.create(
            rule=rule, model=model, kind="opened", window_start=now - DAY, window_end=now, value=0.7, n=900,
            threshold=0.5,
        )  # fmt: skip
        handle_transition(fired.pk)
        return Incident.objects.get()

    @pytest.mark.slow
    def test_says_when_the_next_reminder_comes_and_that_none_does(
        self, client: Client, incident: Incident
    ) -> None:
        page = f"/incidents/{incident.pk}"
        before = markup(client.get(page))

        after = markup(client.post(page, {"action": "acknowledge"}, follow=True))

        assert before.count(": a reminder is sent at ") == 2
        assert "Acknowledged by you. No reminders are sent." in after
        assert "a reminder is sent" not in after

    def test_leads_to_who_gets_it(self, client: Client, incident: Incident) -> None:
        shown = markup(client.get(f"/incidents/{incident.pk}"))
        [address] = re.findall(r'href="([^"]*settings/routing\?labels=[^"]*)#test"', shown)

        answer = client.get(address).context

        assert [one["who"] for one in answer["taken"]] == ["mail, pager"]
        assert answer["known_labels"]["rule"] == 'the "worst"'


class TestYaml:
    def test_is_saved_and_shown_again(self, client: Client, project: Project, tree: dict[str, Any]) -> None:
        text = client.get(PAGE).context["yaml"]

        saved = client.post(PAGE, {"do": "save", "yaml": text.replace("\n", "\r\n")})

        assert saved.status_code == 302
        assert StoredRouting.objects.get().document == tree == read_tree(text)

    def test_with_faults_is_kept_with_a_sentence_for_each(
        self, client: Client, channels: list[Channel]
    ) -> None:
        text = "route:\n  channels: [chat]\n  repeat_interval: 1m\n"

        answer = client.post(PAGE, {"do": "save", "yaml": text})

        shown = markup(answer)
        assert answer.status_code == 422
        assert "This project has no channel &#x27;chat&#x27;; it has mail, pager." in shown
        assert "repeat_interval is 1m, below the group_interval of 5m" in shown
        assert answer.context["yaml"] == text
        assert not StoredRouting.objects.exists()

    def test_that_is_none_says_where(self, client: Client, channels: list[Channel]) -> None:
        shown = markup(client.post(PAGE, {"do": "save", "yaml": "route: ["}))

        assert "Line 1, column 9: " in shown

    def test_can_be_given_up_for_the_default(
        self, client: Client, project: Project, tree: dict[str, Any]
    ) -> None:
        client.post(PAGE, {"do": "reset"})

        assert routing_of(project).is_default


class TestTheForm:
    def test_makes_a_tree_of_channels_by_severity(
        self, client: Client, project: Project, channels: list[Channel]
    ) -> None:
        values = {
            "do": "form", "critical": ["pager", "mail"], "warning": ["mail"], "hours": "week",
            "times": "08:00-18:00", "zone": "Europe/Berlin", "repeat": "4h", "escalate_after": "30m",
            "escalate_to": ["pager"],
        }  # fmt: skip

        client.post(PAGE, values)

        critical, warning, notice = routing_of(project).tree.root.routes
        assert (critical.channels, warning.channels, notice.channels) == (("pager", "mail"), ("mail",), ())
        assert critical.escalate_to == ("pager",)
        assert (critical.active, [one.name for one in warning.active]) == ((), ["office hours"])
        assert routing_of(project).document.time_intervals[0].weekdays == ["monday:friday"]  # type: ignore[index]

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"times": "18:00-08:00"}, "ends before it starts; write two"),
            ({"zone": "Berlin"}, "is no time zone; use one such as Europe/Berlin"),
            ({"escalate_after": "1h"}, "escalate_to is missing"),
            ({"critical": ["chat"]}, "chat is not one of the available choices"),
        ],
    )
    def test_says_what_is_wrong(
        self, client: Client, channels: list[Channel], values: dict[str, Any], sentence: str
    ) -> None:
        usual = {"do": "form", "hours": "day", "times": "08:00-18:00", "zone": "UTC"}

        answer = client.post(PAGE, usual | values)

        assert answer.status_code == 422
        assert sentence in markup(answer)
        assert not StoredRouting.objects.exists()


class TestWhoGetsIt:
    def test_is_answered_with_the_path_through_the_tree(
        self, client: Client, model: Model, tree: dict[str, Any]
    ) -> None:
        Model.objects.filter(pk=model.pk).update(owner="risk")

        shown = markup(client.get(PAGE, {"labels": f"severity=critical, model={model.name}"}))
        later = markup(client.get(PAGE, {"labels": f"severity=warning, model={model.name}, metric=psi"}))

        answer = shown.split('id="test"')[1]
        assert "<strong>pager</strong>" in answer
        assert "Then mail, if nobody acknowledges" in answer
        assert "Default route \u203a Route 1" in " ".join(answer.split())
        answer = later.split('id="test"')[1]
        assert "<strong>mail</strong>" in answer
        assert 'owner="risk"' in answer.replace("&quot;", '"')
        assert 'kind="drift"' in answer.replace("&quot;", '"')
        assert "Outside never now: not within a year." in " ".join(answer.split())

    def test_says_which_channels_do_not_take_it(
        self, client: Client, tree: dict[str, Any], channels: list[Channel]
    ) -> None:
        Channel.objects.filter(name="mail").update(min_severity="critical")

        shown = markup(client.get(PAGE, {"labels": "severity=notice"}))

        assert "<strong>Nobody</strong>" in shown
        assert "Not mail: takes critical and above." in shown

    def test_needs_labels(self, client: Client, tree: dict[str, Any]) -> None:
        shown = markup(client.get(PAGE, {"labels": "critical"}))

        assert "&#x27;critical&#x27; is no matcher; write a label" in shown

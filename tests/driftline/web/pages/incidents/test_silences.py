"""Silences on pages: listed, previewed, made, ended after a question, and said wherever they matter."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident, Silence
from monitors.alerts.silences import create_silence
from monitors.rules.models import Rule, Transition
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient

DAY = timedelta(days=1)
PAGE = "/settings/silences"

type Make = Callable[..., Silence]


@pytest.fixture
def now() -> datetime:
    return datetime.now().astimezone()


@pytest.fixture
def make(project: Project, model: Model, now: datetime) -> Make:
    """Make a silence of the model; `start` and `end` are days from now."""

    def silence(start: int = -1, end: int = 1, reason: str = "snow", *, of_all: bool = False) -> Silence:
        return create_silence(
            project=project, model=None if of_all else model, start=now + start * DAY, end=now + end * DAY,
            reason=reason, actor="ada@bank.example",
        )  # fmt: skip

    return silence


@pytest.fixture
def incident(project: Project, model: Model, now: datetime) -> Incident:
    """An incident of a rule that judges by the day."""
    rule = Rule.objects.create(
        project=project, model=model, name="log loss", metric="log_loss", threshold=0.5, cooldown=DAY,
        notify_within=DAY,
    )  # fmt: skip
    fired = Transition.objects.create(
        rule=rule, model=model, kind="opened", window_start=now - DAY, window_end=now, value=0.7, n=900,
        threshold=0.5,
    )  # fmt: skip
    handle_transition(fired.pk)
    return Incident.objects.get()


def editor_of(project: Project) -> Client:
    user = User.objects.create_user("editor@bank.example")
    Membership.objects.create(project=project, user=user, role=Role.EDITOR)
    client = PagesClient()
    client.force_login(user)
    return client


class TestList:
    def test_shows_active_coming_and_ended_ones_with_who_and_why(self, client: Client, make: Make) -> None:
        make(-3, -2, "repair")
        make(-1, 1, "snow")
        make(2, 3, "release", of_all=True)

        shown = markup(client.get(PAGE))

        places = [shown.index(part) for part in ("Active", "snow", "Coming", "release", "Ended", "repair")]
        assert places == sorted(places)
        assert "ada@bank.example" in shown
        assert "All models" in shown.split("<h2>Coming</h2>")[1].split("<h2>Ended</h2>")[0]

    def test_offers_a_viewer_no_form_and_no_end(self, project: Project, make: Make) -> None:
        silence = make()

        shown = markup(viewer_of(project).get(PAGE))

        assert "snow" in shown
        assert "Add a silence" not in shown
        assert f"{silence.pk}/end" not in shown


class TestMaking:
    def test_previews_what_it_mutes_and_stores_nothing(
        self, client: Client, model: Model, incident: Incident
    ) -> None:
        values = {"do": "preview", "model": model.name, "length": "1w", "reason": "snow"}

        shown = markup(client.post(PAGE, values))

        preview = shown.split('id="preview"')[1].split("<button")[0]
        assert "It mutes 1 of 1 rule, and what is next notified of 1 open incident." in preview
        assert f"INC-{incident.pk}" in preview
        assert not Silence.objects.exists()

    @pytest.mark.parametrize(("length", "lasts"), [("1h", 1 / 24), ("4h", 4 / 24), ("1d", 1), ("1w", 7)])
    def test_lasts_as_long_as_was_chosen(
        self, client: Client, model: Model, length: str, lasts: float, now: datetime
    ) -> None:
        client.post(PAGE, {"do": "create", "model": model.name, "length": length, "reason": "snow"})

        silence = Silence.objects.get()
        assert silence.end - silence.start == lasts * DAY
        assert timedelta() <= silence.start - now < timedelta(minutes=1)
        assert (silence.model, silence.created_by) == (model, "owner@bank.example")

    def test_lasts_until_the_time_that_was_given(self, client: Client, model: Model, now: datetime) -> None:
        values = {
            "do": "create",
            "model": model.name,
            "length": "until",
            "reason": "snow",
            "end": "2999-01-01T00:00",
        }

        refused = client.post(PAGE, values)
        client.post(PAGE, values | {"start": "2998-12-24T00:00"})

        assert "lasts longer than 366 days" in markup(refused)
        assert Silence.objects.get().end.year == 2999

    def test_needs_a_duration_or_an_end(self, client: Client, model: Model) -> None:
        refused = client.post(
            PAGE, {"do": "create", "model": model.name, "length": "until", "reason": "snow"}
        )

        assert refused.status_code == 422
        assert "Give the time when the silence ends, or choose a duration." in markup(refused)

    def test_is_refused_where_no_window_ends_in_it(
        self, client: Client, model: Model, incident: Incident
    ) -> None:
        values = {
            "do": "create", "model": model.name, "length": "1h", "reason": "snow", "start": "2026-11-28T12:00",
        }  # fmt: skip

        refused = client.post(PAGE, values)

        assert refused.status_code == 422
        assert "the next one ends on 29 Nov 2026 00:00 UTC. Choose a later end." in markup(refused)
        assert not Silence.objects.exists()

    def test_of_all_models_is_for_admins(self, client: Client, project: Project, model: Model) -> None:
        editor = editor_of(project)
        values = {"do": "create", "model": "*", "length": "1d", "reason": "snow"}

        refused = editor.post(PAGE, values)
        client.post(PAGE, values)

        assert "All models" not in markup(editor.get(PAGE)).split("Add a silence")[1]
        assert refused.status_code == 403
        assert Silence.objects.get().model is None


class TestIncident:
    @pytest.mark.slow
    def test_leads_to_a_form_that_is_filled_in_and_previewed(
        self, client: Client, incident: Incident
    ) -> None:
        address = f"/settings/silences?incident={incident.pk}"
        assert address in markup(client.get(f"/incidents/{incident.pk}"))

        shown = markup(client.get(address))

        assert f'value="INC-{incident.pk}: {incident.title}"' in shown
        assert "It mutes 1 of 1 rule" in shown

    def test_is_where_one_arrives_afterwards_and_says_that_it_is_silenced(
        self, client: Client, incident: Incident
    ) -> None:
        values = {"do": "create", "model": incident.model.name, "length": "1w", "reason": "snow"}

        response = client.post(f"{PAGE}?incident={incident.pk}", values, follow=True)

        shown = markup(response)
        assert response.redirect_chain[0][0].endswith(f"/incidents/{incident.pk}")
        assert "Notifications are silenced until" in shown
        assert PAGE in shown.split("Notifications are silenced until")[1].split("</p>")[0]

    def test_of_another_project_is_not_found(self, client: Client) -> None:
        assert client.get(f"{PAGE}?incident=999").status_code == 404
        assert client.get(f"{PAGE}?incident=x").status_code == 404


class TestBanner:
    @pytest.mark.parametrize("path", ["", "drift", "rules"])
    def test_is_on_the_models_pages_while_one_is_active(
        self, client: Client, model: Model, make: Make, path: str
    ) -> None:
        make(-3, -2, "repair")
        before = markup(client.get(f"/models/{model.name}/{path}"))
        make(of_all=True)
        during = markup(client.get(f"/models/{model.name}/{path}"))

        assert "Notifications are silenced" not in before
        assert "Notifications are silenced until" in during
        assert "for every model: snow" in during


class TestEnding:
    def test_asks_first_and_then_ends_it(self, client: Client, make: Make) -> None:
        silence = make()

        asked = markup(client.get(f"{PAGE}/{silence.pk}/end"))
        assert Silence.objects.get().ended_by == ""
        done = client.post(f"{PAGE}/{silence.pk}/end", follow=True)

        assert "End the silence of" in asked
        assert "snow" in asked
        assert Silence.objects.get().ended_by == "owner@bank.example"
        assert "ended early by owner@bank.example" in markup(done)

    def test_says_that_an_ended_one_has_ended(self, client: Client, make: Make) -> None:
        silence = make(-3, -2)

        assert client.get(f"{PAGE}/{silence.pk}/end").status_code == 409

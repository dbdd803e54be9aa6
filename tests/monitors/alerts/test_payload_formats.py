"""Bodies of webhooks: Driftline's own, Alertmanager's, a CloudEvent, or what a template makes; nothing is lost."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from driftline.base.accounts.services import create_token
from driftline.base.errors import Problem
from driftline.operations.configuration.exporting import export
from monitors.alerts.channels.webhook.formats import FORMATS
from monitors.alerts.channels.webhook.samples import INCIDENT, NOTICE
from monitors.alerts.channels.webhook.template import MAX_RENDERED_BYTES
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.sending.announcing import announce
from monitors.feed.models import FeedEvent
from tests.markup import markup
from tests.monitors.alerts.conftest import ADA, Fire
from tests.monitors.alerts.receiver import Receiver
from tests.pages_client import PagesClient

TEMPLATE = {
    "text": "{{ model.name }}: {{ incident.title }} ({{alert.value}})",
    "value": "{{ alert.value }}",
    "tags": ["driftline", "{{ incident.severity }}", 7, None],
    "alerts": "{{ alerts }}",
    "first": "{{ alerts.0.severity }}",
    "none": "{{ alerts.9.severity }}",
}


def choose(channel: Channel, payload_format: str, template: Any = None) -> None:
    channel_services.update_channel(
        channel=channel, actor=ADA, payload_format=payload_format, template=template
    )


def open_incident(fire: Fire, **fields: Any) -> Incident:
    handling.handle_transition(fire(**fields).pk)
    outbox.send_due_deliveries()
    return Incident.objects.get()


def announce_run(project: Project) -> None:
    event = FeedEvent.objects.create(
        project=project, kind="run.failed", event_id="evt_1", subject="run-7", text="run 7 failed",
        data={"run": {"id": 7}},
    )  # fmt: skip
    announce(event)
    outbox.send_due_deliveries()


class TestSamples:
    def test_have_the_fields_of_what_is_sent(
        self, webhook: Channel, fire: Fire, receiver: Receiver, project: Project
    ) -> None:
        open_incident(fire)
        announce_run(project)

        incident, notice = receiver.verified(0), receiver.verified(1)
        for part in ("incident", "alert", "window"):
            assert set(INCIDENT[part]) == set(incident[part])
        assert set(INCIDENT["alerts"][0]) == set(incident["alerts"][0])
        assert set(INCIDENT) == set(incident)
        assert set(notice) <= set(NOTICE)


class TestAlertmanager:
    def test_is_the_group_of_the_incidents_alerts(
        self, webhook: Channel, fire: Fire, receiver: Receiver, now: datetime
    ) -> None:
        choose(webhook, "alertmanager")

        incident = open_incident(fire, age=timedelta(hours=3))
        handling.handle_transition(fire("resolved", value=0.4).pk)
        outbox.send_due_deliveries()

        opened, resolved = receiver.verified(0), receiver.verified(1)
        require_alertmanager_payload(opened)
        require_alertmanager_payload(resolved)
        assert (opened["status"], resolved["status"]) == ("firing", "resolved")
        assert opened["groupKey"] == resolved["groupKey"]
        assert opened["commonLabels"]["incident"] == str(incident.pk)
        assert opened["commonLabels"]["model"] == "flight-delay"
        assert opened["alerts"][0]["fingerprint"] == resolved["alerts"][0]["fingerprint"]
        assert datetime.fromisoformat(resolved["alerts"][0]["endsAt"]) < now

    def test_is_an_alert_of_its_own_where_there_is_no_incident(
        self, webhook: Channel, receiver: Receiver, project: Project
    ) -> None:
        choose(webhook, "alertmanager")

        announce_run(project)
        channel_services.send_test(channel=webhook, actor=ADA)
        outbox.send_due_deliveries()

        for index, event in enumerate(("run.failed", "test")):
            require_alertmanager_payload(receiver.verified(index))
            assert receiver.verified(index)["groupLabels"]["event"] == event


def require_alertmanager_payload(payload: Any) -> None:
    """Check what programs read that take webhooks of Alertmanager: the fields of its documentation."""
    assert set(payload) == {
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts",
    }  # fmt: skip
    assert payload["version"] == "4"
    assert payload["status"] in ("firing", "resolved")
    assert payload["externalURL"].startswith("http")
    for alert in payload["alerts"]:
        assert set(alert) == {
            "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint",
        }  # fmt: skip
        assert all(name.isidentifier() and isinstance(text, str) for name, text in alert["labels"].items())
        assert alert["labels"]["alertname"]
        datetime.fromisoformat(alert["startsAt"])
        datetime.fromisoformat(alert["endsAt"])
        assert payload["commonLabels"].items() <= alert["labels"].items()


class TestCloudEvents:
    def test_has_the_payload_in_a_structured_event(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        choose(webhook, "cloudevents")

        incident = open_incident(fire)

        event = receiver.verified()
        assert receiver.received[0].headers["content-type"] == "application/cloudevents+json"
        assert (event["specversion"], event["type"]) == ("1.0", "driftline.incident.opened")
        assert event["id"] == receiver.ids[0] == event["data"]["event_id"]
        assert (event["source"], event["subject"]) == ("/p/airport", f"incidents/{incident.pk}")
        datetime.fromisoformat(event["time"])
        assert event["data"]["incident"]["id"] == incident.pk

    def test_keeps_its_content_type_where_the_channel_has_another_format_by_now(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        choose(webhook, "cloudevents")
        handling.handle_transition(fire().pk)

        choose(webhook, "driftline")
        outbox.send_due_deliveries()

        assert receiver.received[0].headers["content-type"] == "application/cloudevents+json"


class TestTemplate:
    def test_makes_the_body_with_values_of_their_own_type(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        choose(webhook, "template", TEMPLATE)

        incident = open_incident(fire)

        body = receiver.verified()
        assert body["text"] == f"flight-delay: {incident.title} (0.61)"
        assert body["value"] == 0.61
        assert body["tags"] == ["driftline", "critical", 7, None]
        assert [one["severity"] for one in body["alerts"]] == ["critical"]
        assert (body["first"], body["none"]) == ("critical", None)

    @pytest.mark.slow
    def test_takes_no_text_of_a_feature_for_a_placeholder_or_for_json(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        choose(webhook, "template", {"text": "<{{ incident.title }}>"})
        handling.handle_transition(fire().pk)
        Delivery.objects.all().delete()
        hostile = '{{ project.slug }}", "x": "\\'
        Incident.objects.update(title=hostile)

        handling.handle_transition(fire("resolved", value=0.4).pk)
        incident = Incident.objects.get()
        assert incident.title == hostile
        Delivery.objects.update(state="pending")
        outbox.send_due_deliveries()

        assert receiver.verified() == {"text": f"<{hostile}>"}

    def test_leaves_empty_what_an_event_does_not_have(
        self, webhook: Channel, receiver: Receiver, project: Project
    ) -> None:
        choose(webhook, "template", {"text": "{{ text }}/{{ incident.title }}", "id": "{{ incident.id }}"})

        announce_run(project)

        assert receiver.verified()["id"] is None
        assert receiver.verified()["text"].startswith("run 7 failed")
        assert receiver.verified()["text"].endswith("/")

    def test_that_makes_too_much_is_replaced_by_the_own_payload_with_a_note(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        choose(webhook, "template", {"many": ["{{ causes }}"] * 150})
        causes = [
            {"feature": f"feature {number}", "score": 0.5, "evidence": "x" * 60} for number in range(300)
        ]

        incident = open_incident(fire, detail={"causes": causes})

        body = receiver.verified()
        assert body["incident"]["id"] == incident.pk
        assert f"at most {MAX_RENDERED_BYTES:,} are sent" in body["note"]

    def test_that_is_no_template_any_more_is_replaced_by_the_own_payload_with_a_note(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        Channel.objects.update(payload_format="template", template={"text": "{{ removed.field }}"})

        open_incident(fire)

        assert receiver.verified()["event"] == "incident.opened"
        assert "'removed.field'" in receiver.verified()["note"]

    @pytest.mark.parametrize(
        ("template", "pointer", "words"),
        [
            ("{{ text }}", "/template", "A template is a JSON object or list"),
            (
                {"a": {"b/c": "{{ incident.titel }}"}},
                "/template/a/b~1c",
                "No event has 'incident.titel'; incident has id, url, status",
            ),
            ({"a": ["x", "{{ incident.title"]}, "/template/a/1", "is no placeholder"),
            ({"a": "{{ incident.title | upper }}"}, "/template/a", "is no placeholder"),
            ({"a": "{{ incident.__class__ }}"}, "/template/a", "No event has"),
            ({"a": "{% for x in y %}{{ x }}"}, "/template/a", "No event has 'x'"),
            ({"a": ["{{ text }}"] * 201}, "/template", "at most 200 placeholders"),
            ({"a": "x" * 20_001}, "/template", "at most 20,000 bytes"),
            ({"a": "\x00"}, "/template/a", ""),
            (None, "/template", "Write the template"),
        ],
    )
    def test_is_refused_in_a_sentence_at_its_place(
        self, webhook: Channel, template: Any, pointer: str, words: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            choose(webhook, "template", template)

        [fault] = refused.value.errors
        assert fault.pointer == pointer
        assert words in fault.detail
        webhook.refresh_from_db()
        assert webhook.payload_format == "driftline"

    def test_that_nests_deep_is_refused(self, webhook: Channel) -> None:
        deep: Any = "{{ text }}"
        for _ in range(30):
            deep = [deep]

        with pytest.raises(Problem) as refused:
            choose(webhook, "template", deep)

        assert "nests" in refused.value.errors[0].detail


class TestFormat:
    @pytest.mark.parametrize("payload_format", FORMATS)
    def test_is_taken_of_any_event_and_signed(
        self, webhook: Channel, fire: Fire, receiver: Receiver, project: Project, payload_format: str
    ) -> None:
        choose(webhook, payload_format, {"text": "{{ text }}"} if payload_format == "template" else None)

        open_incident(fire)
        announce_run(project)
        channel_services.send_test(channel=webhook, actor=ADA)
        outbox.send_due_deliveries()

        assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}
        assert all(receiver.verified(index) for index in range(3))

    def test_of_another_kind_is_refused(self, email: Channel) -> None:
        with pytest.raises(Problem) as refused:
            choose(email, "cloudevents")

        assert refused.value.errors[0].pointer == "/payload_format"

    def test_that_does_not_exist_is_refused(self, webhook: Channel) -> None:
        with pytest.raises(Problem) as refused:
            choose(webhook, "xml")

        assert "'xml' is not one of driftline, alertmanager" in refused.value.errors[0].detail

    @pytest.mark.parametrize("payload_format", ["driftline", "alertmanager", "cloudevents"])
    def test_that_ignores_a_template_is_refused_beside_one(
        self, webhook: Channel, payload_format: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            choose(webhook, payload_format, TEMPLATE)

        [fault] = refused.value.errors
        assert fault.pointer == "/template"
        assert f"the format {payload_format} takes no template; leave it out" in fault.detail

    def test_that_is_changed_alone_drops_the_template(self, webhook: Channel) -> None:
        choose(webhook, "template", TEMPLATE)

        channel_services.update_channel(channel=webhook, actor=ADA, payload_format="cloudevents")

        webhook.refresh_from_db()
        assert (webhook.payload_format, webhook.template) == ("cloudevents", None)

    def test_is_in_the_configuration_and_in_the_audit_trail(self, webhook: Channel, project: Project) -> None:
        choose(webhook, "template", TEMPLATE)

        exported = export(project)["channels"]["pager"]
        seen_by_viewers = export(project, with_targets=False)["channels"]["pager"]
        entry = project.audit.latest("pk")
        assert (exported["payload_format"], exported["template"]) == ("template", TEMPLATE)
        assert "template" not in seen_by_viewers
        assert (entry.action, entry.after["payload_format"]) == ("channel.update", "template")

    def test_has_no_secrets_of_its_template_in_the_audit_trail(
        self, webhook: Channel, project: Project
    ) -> None:
        for routing_key in ("s3cret-of-the-receiver", "another-s3cret"):
            choose(webhook, "template", {"routing_key": routing_key, "text": "{{ text }}"})
        channel_services.delete_channel(channel=webhook, actor=ADA)

        entries = list(project.audit.filter(action__in=["channel.update", "channel.delete"]).order_by("pk"))
        assert "s3cret" not in str([(entry.before, entry.after) for entry in entries])
        first, second, last = entries
        assert first.before["template"] is None
        assert second.before["template"] != second.after["template"], "a change is seen"
        assert last.before["template"] == second.after["template"]


class TestApi:
    @pytest.mark.parametrize("payload_format", FORMATS)
    def test_previews_each_format(self, project: Project, payload_format: str) -> None:
        body = {"payload_format": payload_format, "template": {"text": "{{ text }}"}}
        if payload_format != "template":
            del body["template"]

        preview = post("/api/v1/channels/preview", body, headers_of(project, ["read"]))

        assert preview.status_code == 200
        assert INCIDENT["text"] in preview.json()["body"]

    def test_makes_shows_and_previews(self, project: Project, receiver: Receiver) -> None:
        writer, reader = (headers_of(project, scopes) for scopes in (["read", "write"], ["read"]))
        channel = {
            "name": "chat", "kind": "webhook", "target": receiver.url, "payload_format": "template",
            "template": {"text": "{{ text }}"},
        }  # fmt: skip

        made = post("/api/v1/channels", channel, writer)
        seen, masked = (
            Client().get(f"/api/v1/channels/{made.json()['id']}", headers=one).json()
            for one in (writer, reader)
        )
        preview = post(
            "/api/v1/channels/preview", {"payload_format": "template", "template": TEMPLATE}, reader
        )
        refused = post(
            "/api/v1/channels/preview", {"payload_format": "template", "template": {"a": "{{"}}, reader
        )

        assert made.status_code == 201
        assert (seen["payload_format"], seen["template"]) == ("template", {"text": "{{ text }}"})
        assert (masked["payload_format"], masked["template"]) == ("template", None)
        assert json.loads(preview.json()["body"])["value"] == INCIDENT["alert"]["value"]
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/template/a")


def headers_of(project: Project, scopes: list[str]) -> dict[str, str]:
    _, token = create_token(project=project, name=" ".join(scopes), scopes=scopes, actor=ADA)
    return {"Authorization": f"Bearer {token}"}


def post(path: str, body: Any, headers: dict[str, str]) -> Any:
    return Client().post(path, body, content_type="application/json", headers=headers)


class TestPage:
    @pytest.fixture
    def page(self, project: Project, person: User) -> Client:
        Membership.objects.create(project=project, user=person, role=Role.EDITOR)
        client = PagesClient()
        client.force_login(person)
        return client

    def test_previews_without_saving(self, page: Client, webhook: Channel) -> None:
        fields = {"payload_format": "template", "template": json.dumps({"title": "{{ incident.title }}"})}

        shown = markup(page.post(f"/settings/channels/{webhook.pk}", {"do": "preview", **fields}))

        assert "A made-up incident in this format" in shown
        assert INCIDENT["incident"]["title"] in shown
        webhook.refresh_from_db()
        assert (webhook.payload_format, webhook.template) == ("driftline", None)

    def test_saves(self, page: Client, webhook: Channel) -> None:
        fields = {"payload_format": "template", "template": '{"title": "{{ incident.title }}"}'}

        page.post(f"/settings/channels/{webhook.pk}", {"do": "save payload", **fields})

        webhook.refresh_from_db()
        assert (webhook.payload_format, webhook.template) == ("template", {"title": "{{ incident.title }}"})
        shown = markup(page.get(f"/settings/channels/{webhook.pk}"))
        assert "{{ incident.title }}" in shown.replace("&quot;", '"')

    @pytest.mark.parametrize("template", ["{", '{"a": "{{ nothing.here }}"}', ""])
    @pytest.mark.parametrize("action", ["preview", "save payload"])
    def test_explains_at_the_field_what_is_refused(
        self, page: Client, webhook: Channel, template: str, action: str
    ) -> None:
        fields = {"do": action, "payload_format": "template", "template": template}

        refused = page.post(f"/settings/channels/{webhook.pk}", fields)

        assert refused.status_code == 422
        assert 'class="error"' in markup(refused)
        webhook.refresh_from_db()
        assert webhook.payload_format == "driftline"

    def test_offers_none_for_other_kinds(self, page: Client, email: Channel) -> None:
        assert "Payload" not in markup(page.get(f"/settings/channels/{email.pk}"))

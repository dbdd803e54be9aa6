"""Targets of channels are secrets: what a refused one leaves, and what is seen of them."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_token
from driftline.base.errors import Problem
from monitors.alerts.channels.masking import mask_target, without_target
from monitors.alerts.models import Channel, DeliveryAttempt
from monitors.alerts.sending import channel_services, outbox
from tests.monitors.alerts.receiver import Answer, Receiver

SLACK = "https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/xyzSECRETxyz9876"


class TestSaving:
    def test_a_refused_url_leaves_no_channel(self, project: Project) -> None:
        with pytest.raises(Problem):
            channel_services.create_channel(
                project=project,
                kind="webhook",
                name="x",
                target="http://127.0.0.1:9/",
                actor="ada@example.com",
            )

        assert not Channel.objects.exists()

    def test_a_change_to_a_refused_url_leaves_the_old_one(self, webhook: Channel) -> None:
        before = webhook.target

        with pytest.raises(Problem):
            channel_services.update_channel(
                channel=webhook, actor="ada@example.com", target="https://10.0.0.1/"
            )

        assert Channel.objects.get().target == before


class TestMasking:
    @pytest.mark.parametrize(
        ("target", "shown"),
        [
            (SLACK, "https://hooks.slack.com/…9876"),
            ("https://chat.example:8443/hook", "https://chat.example:8443/…"),
            ("https://alerts.example", "https://alerts.example"),
            ("https://alerts.example/?key=0123456789", "https://alerts.example/…6789"),
            ("e93facc04764012d7bfb002500d5d1a6", "…d1a6"),
            ("0123", "…"),
            ("on-call@example.com", "on-call@example.com"),
            ("", "…"),
        ],
    )
    def test_shows_the_host_and_the_last_four_characters(self, target: str, shown: str) -> None:
        assert mask_target(target) == shown

    def test_covers_what_an_error_quotes_of_it(self) -> None:
        path = SLACK.partition("slack.com")[2]

        text = without_target(f"Max retries exceeded with url: {path} ({SLACK})", SLACK)

        assert text == "Max retries exceeded with url: /…9876 (https://hooks.slack.com/…9876)"

    def test_no_answer_of_a_receiver_keeps_it(self, webhook: Channel, receiver: Receiver) -> None:
        Channel.objects.update(target=f"{receiver.url}/0123456789abcdef")
        receiver.answers = [Answer(500, body=b"POST /hook/0123456789abcdef failed")]
        webhook.refresh_from_db()

        channel_services.send_test(channel=webhook, actor="ada@example.com")
        outbox.send_due_deliveries()

        tried = DeliveryAttempt.objects.select_related("delivery").get()
        assert tried.answer == "The receiver answered 500: POST /…cdef failed"
        assert tried.delivery.reason == tried.answer

    @pytest.mark.parametrize(
        ("scopes", "shown"), [(["read"], None), (["read", "write"], "https://hooks.slack.com/…9876")]
    )
    def test_the_api_shows_its_mask_to_those_who_may_change_it(
        self, project: Project, webhook: Channel, scopes: list[str], shown: str | None
    ) -> None:
        Channel.objects.update(target=SLACK)
        _, token = create_token(project=project, name="t", scopes=scopes, actor="test")
        headers: Any = {"Authorization": f"Bearer {token}"}

        one = Client().get(f"/api/v1/channels/{webhook.pk}", headers=headers).json()
        [listed] = Client().get("/api/v1/channels", headers=headers).json()["items"]

        assert (one["target"], listed["target"]) == (shown, shown)

    def test_the_audit_trail_has_its_mask(self, project: Project, webhook: Channel) -> None:
        channel_services.update_channel(channel=webhook, actor="ada@example.com", name="other")

        text = str([(row.before, row.after) for row in project.audit.all()])

        assert webhook.target not in text
        assert mask_target(webhook.target) in text

    @pytest.mark.slow
    def test_the_admin_does_not_show_it(self, webhook: Channel) -> None:
        Channel.objects.update(target=SLACK)
        client = Client()
        client.force_login(User.objects.create_superuser("root@example.com"))

        for path in ("", f"{webhook.pk}/change/"):
            page = client.get(f"/admin/monitors/channel/{path}")
            assert page.status_code == 200
            assert "9876" not in page.content.decode()

"""Services by Apprise: what is sent keeps to the rules of every message, whatever a plugin asks for."""

import inspect
import json
import re
from types import ModuleType
from typing import Any

import pytest
import requests
from apprise import NotificationManager

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.apprise import SERVICES
from monitors.alerts.channels.apprise_requests import PluginRequests
from monitors.alerts.channels.masking import mask_target
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending import channel_services, outbox
from tests.monitors.alerts.checking_receiver import GOTIFY_TOKEN
from tests.monitors.alerts.conftest import ADA, Fire, Make
from tests.monitors.alerts.receiver import Answer, Receiver

HARMLESS = {
    "base64", "copy", "datetime", "email", "enum", "functools", "hashlib", "hmac", "html", "itertools", "json", "math",
    "os", "random", "re", "time", "typing", "unicodedata", "urllib", "uuid", "xml", "__future__", "collections",
    "contextlib", "abc", "string", "dataclasses", "gettext", "secrets", "cryptography", "io", "gzip", "logging",
}  # fmt: skip


def channel_to(project: Project, target: str) -> Channel:
    channel, _ = channel_services.create_channel(
        project=project, kind="apprise", name="phone", target=target, actor=ADA
    )
    return channel


def send_test(channel: Channel) -> Delivery:
    delivery = channel_services.send_test(channel=channel, actor=ADA)
    outbox.send_due_deliveries()
    delivery.refresh_from_db()
    return delivery


class TestMessage:
    @pytest.mark.parametrize("scheme", ["ntfy", "mmost", "gotify", "bark"])
    def test_reaches_services_of_several_kinds(
        self, project: Project, receiver: Receiver, scheme: str
    ) -> None:
        receiver.answers = [Answer(body=b'{"code": 200, "success": true}')]
        host = receiver.url.removesuffix("/hook").removeprefix("http://")
        parts = {"ntfy": "topic", "bark": "devicekey1", "gotify": GOTIFY_TOKEN}

        delivery = send_test(
            channel_to(project, f"{scheme}://{host}/{parts.get(scheme, 'a' * 24 + '/' + 'b' * 24)}")
        )

        assert (delivery.state, delivery.reason) == ("sent", "")
        assert b"This is a test of the channel phone" in receiver.received[0].body

    def test_has_the_link_before_what_may_be_cut(self, make: Make, fire: Fire, receiver: Receiver) -> None:
        make("apprise")

        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        lines = json.loads(receiver.received[0].body)["message"].splitlines()
        assert lines[0].startswith("Log loss of flight-delay is 0.61")
        assert re.fullmatch(r"Open INC-\d+: http\S+/incidents/\d+", lines[1])


class TestRules:
    @pytest.mark.parametrize(
        "target",
        [
            f"gotify://127.0.0.1/{GOTIFY_TOKEN}", f"gotifys://10.0.0.1/{GOTIFY_TOKEN}", "ntfys://[::1]/topic",
            f"mmosts://2130706433/{'a' * 24}", "rockets://user:word@10.0.0.1/#general",
            "nctalks://user:word@10.0.0.1/room", "signals://10.0.0.1:8443/+15551234567/+15557654321",
        ],
    )  # fmt: skip
    def test_refuse_a_private_address_before_it_is_saved(self, project: Project, target: str) -> None:
        with pytest.raises(Problem) as refused:
            channel_to(project, target)

        [fault] = refused.value.errors
        assert (fault.pointer, fault.code) == ("/target", "url_not_allowed")
        assert not Channel.objects.exists()

    @pytest.mark.parametrize(
        "target", [f"gotifys://93.184.216.34/{GOTIFY_TOKEN}", f"tgram://123456789:{'a' * 32}/12315544/"]
    )
    def test_take_a_public_address(self, project: Project, target: str) -> None:
        assert channel_to(project, target).target == target

    def test_hold_for_addresses(self, make: Make, settings: Any, receiver: Receiver) -> None:
        channel = make("apprise")
        settings.OUTBOUND_ALLOW = []

        delivery = send_test(channel)

        assert receiver.received == []
        assert delivery.reason.startswith("blocked_address: 127.0.0.1")

    def test_hold_for_redirects(self, make: Make, receiver: Receiver) -> None:
        channel = make("apprise")
        receiver.answers = [Answer(302, {"Location": receiver.url})]

        delivery = send_test(channel)

        assert len(receiver.received) == 1
        assert delivery.reason.startswith("redirect_refused")

    def test_hold_for_certificates_which_no_parameter_turns_off(
        self, project: Project, receiver: Receiver
    ) -> None:
        host = receiver.url.removesuffix("/hook").removeprefix("http://")

        delivery = send_test(channel_to(project, f"gotifys://{host}/{GOTIFY_TOKEN}?verify=no"))

        assert delivery.reason.startswith("tls_error")

    def test_leave_what_is_too_long_unread(self, make: Make, receiver: Receiver) -> None:
        channel = make("apprise")
        receiver.answers = [Answer(500, body=b"x" * 2_000_000)]

        delivery = send_test(channel)

        assert delivery.reason.startswith("The receiver answered 500: xxx")

    def test_keep_secrets_out_of_what_is_stored(self, make: Make, receiver: Receiver) -> None:
        channel = make("apprise")
        receiver.answers = [Answer(500, body=f"no application has {GOTIFY_TOKEN}".encode())]

        delivery = send_test(channel)

        assert GOTIFY_TOKEN not in delivery.reason + delivery.attempts.get().answer
        assert mask_target(channel.target) == f"gotify://…{GOTIFY_TOKEN[-4:]}"

    def test_let_no_plugin_send_outside_a_delivery(self, make: Make, receiver: Receiver) -> None:
        make("apprise")

        with pytest.raises(requests.RequestException):
            PluginRequests().post(receiver.url)  # type: ignore[attr-defined]

        assert receiver.received == []


class TestServices:
    def test_are_spoken_to_by_requests_alone(self) -> None:
        """A plugin that came to send by another transport would get past the rules: then it must not be offered."""
        plugins = NotificationManager()

        for scheme in SERVICES:
            module = inspect.getmodule(plugins[scheme])
            assert isinstance(module, ModuleType)
            source = inspect.getsource(module)
            imported = set(re.findall(r"^\s*(?:import|from)\s+(\w+)", source, re.MULTILINE))
            assert "requests" in imported, scheme
            assert imported - {"requests"} <= HARMLESS, scheme
            names = set(re.findall(r"\brequests\.(\w+)", source))
            assert names <= set(dir(PluginRequests())), scheme

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            ("mqtt://broker.example.com/topic", "'mqtt' is not offered"),
            ("syslog://", "'syslog' is not offered"),
            ("file:///etc/passwd", "'file' is not offered"),
            ("https://example.com/hook", "'https' is not offered"),
            ("tgram://", "This is no Apprise URL of Telegram"),
            ("tgram://two words", "is not offered"),
            ("", "is not offered"),
        ],
    )
    def test_that_are_not_offered_are_refused_in_a_sentence(self, target: str, words: str) -> None:
        with pytest.raises(Problem) as refused:
            KINDS["apprise"].check_target(target)

        [fault] = refused.value.errors
        assert fault.pointer == "/target"
        assert words in fault.detail

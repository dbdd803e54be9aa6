"""The demonstration's webhook receiver keeps what is signed and refuses the rest."""

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from driftline.demo.receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    made.start()
    yield made
    made.stop()


def post(receiver: Receiver, body: str, secret: str) -> int:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, body)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    host = receiver.url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/driftline", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


class TestReceiver:
    @pytest.mark.slow
    def test_a_signed_body_is_kept(self, receiver: Receiver, tmp_path: Path) -> None:
        receiver.keep_secret(SECRET)

        assert post(receiver, '{"type": "incident.opened"}', SECRET) == 204

        lines = (tmp_path / "demo" / "webhooks.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"id": "msg_1", "body": {"type": "incident.opened"}}]

    @pytest.mark.slow
    def test_another_secret_is_refused(self, receiver: Receiver, tmp_path: Path) -> None:
        receiver.keep_secret(SECRET)

        assert post(receiver, "{}", "whsec_" + "A" * 32) == 401

        assert not (tmp_path / "demo" / "webhooks.jsonl").exists()

    @pytest.mark.slow
    def test_the_port_stays_the_same_for_a_home(self, tmp_path: Path) -> None:
        first = Receiver(tmp_path)
        url = first.url
        first.start()
        first.stop()

        again = Receiver(tmp_path)
        again.start()
        again.stop()

        assert again.url == url

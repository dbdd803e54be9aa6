"""Debian's Alertmanager takes what the channel sends: an incident is one alert there, from its opening to its end."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.alerts.incidents import handling
from monitors.alerts.models import Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.sending.channel_services import create_channel
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import Fire
from tests.ports import free_port
from tests.waiting import wait_until

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Alertmanager is in Debian's package prometheus-alertmanager"),
]


@pytest.fixture
def alertmanager(tmp_path: Path, settings: Any) -> Iterator[str]:
    """Start one that keeps nothing, and give its address."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    (tmp_path / "config.yml").write_text(CONFIG)
    address = f"127.0.0.1:{free_port()}"
    arguments = [
        f"--config.file={tmp_path / 'config.yml'}", f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address={address}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM), *arguments], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
        )
        try:
            wait_until(
                lambda: is_ready(address), what=f"Alertmanager: {(tmp_path / 'log').read_text()[-500:]}"
            )
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(10)


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def alerts(address: str) -> list[dict[str, Any]]:
    """Read the alerts that fire there."""
    with urlopen(f"{address}/api/v2/alerts?active=true", timeout=5) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def test_an_incident_is_an_alert_until_it_is_resolved(
    alertmanager: str, project: Project, model: Model, rule: Rule, fire: Fire
) -> None:
    Rule.objects.update(name='log "loss" \\ é 飛')
    create_channel(project=project, kind="alertmanager", name="team", target=alertmanager, actor="ada")

    handling.handle_transition(fire().pk)
    outbox.send_due_deliveries()

    assert [(one.state, one.reason) for one in Delivery.objects.all()] == [("sent", "")]
    [alert] = wait_until(lambda: alerts(alertmanager), what="the alert")
    incident = Incident.objects.get()
    assert alert["labels"] == {
        "alertname": 'Driftline: log "loss" \\ é 飛', "project": "airport", "model": "flight-delay",
        "metric": "log_loss", "severity": "critical", "incident": str(incident.pk),
    }  # fmt: skip
    assert alert["annotations"]["summary"] == incident.title
    assert alert["generatorURL"].endswith(f"/incidents/{incident.pk}")

    handling.handle_transition(fire("resolved", value=0.4).pk)
    outbox.send_due_deliveries()

    wait_until(lambda: not alerts(alertmanager), what="the end of the alert")


def test_the_test_of_a_channel_arrives(alertmanager: str, project: Project) -> None:
    channel, _ = create_channel(
        project=project, kind="alertmanager", name="team", target=alertmanager, actor="ada"
    )

    delivery = channel_services.send_test(channel=channel, actor="ada")
    outbox.send_due_deliveries()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == ("sent", "")
    assert [one["labels"]["alertname"] for one in alerts(alertmanager)] == ["Driftline: test"]

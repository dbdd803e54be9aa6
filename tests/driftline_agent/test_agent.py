"""The agent as a process, with the real server: it enrols, answers, follows releases, and sends what it predicted."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.edge_keys import Purpose, newest_key
from driftline.base.keys.signing import public_text
from driftline_agent.agent import Agent, Options
from inference.edge.enrolment import create_device, renew_code, revoke_device
from inference.edge.models import Device, DeviceGroup, Release
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.queries import selectors
from tests.driftline_agent.device import PlayedDevice, enrol_in
from tests.driftline_agent.enrolled import running_agents
from tests.driftline_agent.processes import AgentProcess
from tests.driftline_agent.proxy import bad_network
from tests.inference.edge.fleet import release
from tests.inference.onnx_models import linear_model
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_server_of_before_which_refuses_what_it_does_not_know_hears_nothing_of_the_cpu(
    device: PlayedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.server.offer(linear_model(3.0, 0.0), "1")
    device.updater.poll()
    enrol_in(device.home)
    agent = Agent(Options(device.home, port=0))
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(agent._uplink, "send_status", lambda **status: reported.append(status) or 1)

    agent._report()
    assert agent._in_use.model is not None
    agent._in_use.model.runs_on = "cuda, all nodes"
    agent._report()
    agent.close()

    assert "runs_on" not in reported[0]
    assert reported[1]["runs_on"] == "cuda, all nodes"


def logged(group: DeviceGroup) -> list[str]:
    return sorted(
        PredictionRow.objects.filter(model_id=group.model_id).values_list("prediction_id", flat=True)
    )


def test_an_agent_answers_with_what_is_released_and_its_rows_are_logged(
    group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    first = release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")
        answers = [agent.ask(x) for x in (1.0, 2.0, 3.0)]

        wait_until(
            lambda: logged(group) == ["truck0-1", "truck0-2", "truck0-3"], what="three rows are logged"
        )
        wait_until(
            lambda: Device.objects.get().unsent_rows == 0, what="the device says that it has no row any more"
        )

    assert [answer and answer["outputs"][0]["data"] for answer in answers] == [[1.0], [2.0], [3.0]]
    found = selectors.prediction(model=group.model, prediction_id="truck0-2")
    assert found is not None
    assert (found["version"], found["features"], found["prediction"]) == ("1", {"x": 2.0}, 2.0)
    first.refresh_from_db()
    assert first.state == "completed"
    device = Device.objects.get()
    assert device.version == "1"
    assert device.skew_ms is not None
    assert abs(device.skew_ms) < 5_000


def test_a_release_that_answers_nan_is_aborted_and_the_device_goes_on(
    group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")
        assert agent.ask() is not None

        bad = release(group, "2", linear_model(float("nan"), 0.0))
        wait_until(lambda: Release.objects.get(pk=bad.pk).state == "aborted", what="the release is aborted")

        assert agent.ask() is not None
        assert agent.version() == "1"
        assert "NaN" in bad.targets.get().failure
        release(group, "3")
        agent.wait_for("3")


def test_an_agent_follows_rotations_of_the_signing_key_also_those_while_it_was_away(
    group: DeviceGroup, live_server: Any, tmp_path: Path, settings: Any
) -> None:
    settings.EDGE_KEY_FILE = tmp_path / "server" / "keys" / "edge_key"
    settings.EDGE_KEY_FILE.parent.mkdir(parents=True)
    settings.EDGE_KEY_FILE.write_text("the first key")
    release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")

        call_command("rotate_key", "edge_key")
        release(group, "2")
        agent.wait_for("2")

        agent.stop()
        for _ in range(3):
            call_command("rotate_key", "edge_key")
        release(group, "3")
        agent.start()
        agent.wait_for("3")
        newest = public_text(newest_key(Purpose.MANIFESTS))
        wait_until(lambda: Device.objects.get().pinned_key == newest, what="the device names the newest key")

    assert Device.objects.get().failure == ""


def test_an_agent_answers_without_a_network_and_sends_later(
    group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")
        agent.stop()
        identity = agent.home / "device.json"
        online = identity.read_text()
        identity.write_text(online.replace(live_server.url, "http://127.0.0.1:1"))

        agent.start()
        agent.wait_for("1")
        assert all(agent.ask() for _ in range(5))
        agent.stop()
        identity.write_text(online)
        agent.start()

        wait_until(lambda: len(logged(group)) == 5, what="the rows of the time without a network are logged")


class TestEnrolling:
    def test_keeps_the_token_where_its_user_alone_can_read_it(
        self, group: DeviceGroup, live_server: Any, tmp_path: Path
    ) -> None:
        agent, code = AgentProcess(tmp_path / "agent", "truck"), self._code(group)

        enrolled = agent.enrol(live_server.url, code)

        assert (enrolled.returncode, enrolled.stdout.split(".")[0]) == (
            0,
            "This is the device truck of trucks",
        )
        assert (agent.home / "device.json").stat().st_mode & 0o077 == 0
        assert code not in (agent.home / "device.json").read_text()

    @pytest.mark.parametrize(
        ("url", "part"),
        [
            ("http://192.0.2.1", "in the clear"),
            ("nowhere", "is no address"),
            ("http://127.0.0.1:1", "Nobody answers"),
        ],
    )
    def test_says_which_address_is_none(self, url: str, part: str, tmp_path: Path) -> None:
        refused = AgentProcess(tmp_path / "agent", "truck").enrol(url, "dl_enrol_0")

        assert refused.returncode == 1
        assert part in refused.stderr

    @pytest.mark.parametrize("code", ["", "the code", "dl_enrol_\u00e9"])
    def test_says_which_code_is_none(self, code: str, tmp_path: Path) -> None:
        refused = AgentProcess(tmp_path / "agent", "truck").enrol("http://127.0.0.1:1", code)

        assert refused.returncode == 2
        assert "copy the code as the page Devices shows it" in refused.stderr

    def test_says_where_a_code_was_used(self, group: DeviceGroup, live_server: Any, tmp_path: Path) -> None:
        code = self._code(group)
        AgentProcess(tmp_path / "first", "truck").enrol(live_server.url, code)

        again = AgentProcess(tmp_path / "second", "truck").enrol(live_server.url, code)

        assert again.returncode == 1
        assert "Make another one on the page Devices" in again.stderr

    @pytest.mark.parametrize("lost", ["cut before", "cut after", "cut within"])
    def test_is_done_again_with_the_same_code_where_no_answer_came(
        self, lost: str, group: DeviceGroup, live_server: Any, tmp_path: Path
    ) -> None:
        agent, code = AgentProcess(tmp_path / "agent", "truck"), self._code(group)
        with bad_network(live_server.url, 1) as network:
            network.plan(lost, "double")

            cut, whole = agent.enrol(network.url, code), agent.enrol(network.url, code)

        assert (cut.returncode, whole.returncode) == (1, 0)
        assert "Run this again, with the same code." in cut.stderr
        assert AuditEntry.objects.filter(action="device.enrol").count() == 1
        assert not (agent.home / "enrolment.key").exists()

    def test_in_a_new_home_goes_on_with_numbers_that_were_never_used(
        self, group: DeviceGroup, live_server: Any, tmp_path: Path
    ) -> None:
        release(group, "1")
        with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
            agent.wait_for("1")
            agent.ask()
            wait_until(lambda: len(logged(group)) == 1, what="the row is logged")
        code = renew_code(device=Device.objects.get(), actor="test", now=datetime.now(UTC))
        anew = AgentProcess(tmp_path / "anew", "truck0")

        assert anew.enrol(live_server.url, code).returncode == 0
        anew.start()
        try:
            anew.wait_for("1")
            anew.ask()
        finally:
            anew.stop()

        assert anew.answered == ["truck0-1000002"]

    def _code(self, group: DeviceGroup) -> str:
        return create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))[1]


def test_a_revoked_device_goes_on_to_answer_and_sends_nothing_more(
    group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")
        revoke_device(device=Device.objects.get(), actor="test", now=datetime.now(UTC))
        wait_until(lambda: "does not know this device" in agent.log(), what="the agent notices")

        assert agent.ask() is not None

    assert logged(group) == []


def test_rows_that_are_damaged_on_the_disk_are_put_aside_and_their_numbers_never_used(
    group: DeviceGroup, live_server: Any, tmp_path: Path
) -> None:
    release(group, "1")
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        agent.wait_for("1")
        agent.stop()
        (agent.home / "rows.db").write_bytes(b"no database" * 1_000)

        agent.start()
        agent.wait_for("1")
        wait_until(lambda: agent.ask() and agent.answered, what="an answer names its row again")

    assert agent.answered == ["truck0-1000001"]
    assert (agent.home / "rows.damaged").exists()


def test_one_home_has_one_agent(group: DeviceGroup, live_server: Any, tmp_path: Path) -> None:
    with running_agents(group, live_server.url, tmp_path, 1) as [agent]:
        wait_until(lambda: "answers on" in agent.log(), what="the agent runs")
        second = AgentProcess(agent.home, "second")

        second.start()
        assert second.process is not None
        assert second.process.wait(60) == 1

    assert "Another agent runs" in second.log()

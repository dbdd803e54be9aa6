"""What a serving host pulls from the main server, over the real API."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from django.core.management import call_command
from django.core.management.base import CommandError

from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import create_token, revoke_token
from driftline.base.clock import now
from inference.hosts import file_downloads, following, host_files
from inference.hosts.main_server import MainServer
from inference.hosts.models import ServingHost
from inference.hosts.services import add_host, revoke_host
from inference.hosts.tokens import HostToken
from inference.prediction_log.spool.sealing import KEY_FILE
from inference.prediction_log.spool.segments import SpoolWriter, new_instance_name
from inference.registry.deployments import promote
from inference.registry.models import Deployment, Model
from inference.registry.plan.plan_uptake import await_uptake
from inference.serving.status.status import counts_to_send, live_reports, total_counts, write_host_status
from tests.inference.hosts.conftest import AddVersion, Join
from tests.inference.hosts.joined import JoinedHost
from tests.waiting import wait_until


@pytest.mark.slow
def test_a_host_gets_models_with_their_files_tokens_and_keys(
    host: JoinedHost, add_version: AddVersion, model: Model, main_home: Path
) -> None:
    version = add_version()
    create_token(project=model.project, name="app", scopes=["infer"], actor="test")

    host.follow_until(lambda: bool(host.models))

    [served] = host.models
    assert (served.name, served.champion, host.follower.failure) == ("delay", "1", "")
    assert (host.home / version.path).read_bytes() == (main_home / version.path).read_bytes()
    assert len(host.plan.tokens) == 1
    assert (host.home / "keys" / "hash_key").read_text() == "hash_key-of-the-main-server"
    assert (host.home / "keys" / "hash_key").stat().st_mode & 0o077 == 0
    assert AuditEntry.objects.get(action="version.download").actor == "serving host serving-2"


@pytest.mark.slow
def test_a_promotion_and_a_revoked_token_hold_with_the_next_pull(
    host: JoinedHost, add_version: AddVersion, model: Model
) -> None:
    add_version()
    token, _ = create_token(project=model.project, name="app", scopes=["infer"], actor="test")
    add_version()
    host.follow_until(lambda: bool(host.models) and len(host.models[0].versions) == 2)

    _promote(model)
    revoke_token(token=token, actor="test", now=now())
    host.follower.follow()

    assert host.models[0].champion == "2"
    assert host.plan.tokens == []


@pytest.mark.slow
def test_a_model_whose_new_file_does_not_come_answers_as_before_and_the_host_says_so_until_it_comes(
    host: JoinedHost, add_version: AddVersion, model: Model, main_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_downloads, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.0)
    add_version()
    token, _ = create_token(project=model.project, name="app", scopes=["infer"], actor="test")
    host.follow_until(lambda: bool(host.models))
    version = add_version()
    content = (main_home / version.path).read_bytes()
    (main_home / version.path).unlink()
    _promote(model)
    revoke_token(token=token, actor="test", now=now())

    host.follow_until(lambda: version.sha256[:12] in host.follower.failure)
    host.follower.follow()

    assert host.models[0].champion == "1"
    assert host.plan.tokens == []  # what holds at once does not wait for the file
    assert version.sha256[:12] in host.follower.status().failure

    (main_home / version.path).write_bytes(content)
    host.follow_until(lambda: host.models[0].champion == "2")
    assert host.follower.failure == ""


def _promote(model: Model) -> None:
    generation = Deployment.objects.get(model=model).generation
    promote(model=model, version="2", expected_generation=generation, actor="test")


@pytest.mark.slow
def test_a_file_that_was_changed_on_its_way_is_not_served(
    host: JoinedHost, add_version: AddVersion, main_home: Path
) -> None:
    version = add_version()
    (main_home / version.path).write_bytes(b"another model")

    host.follow_until(lambda: "other bytes" in host.follower.failure)

    assert host.models == []
    assert not (host.home / version.path).exists()


@pytest.mark.slow
def test_a_download_that_breaks_off_is_a_failure_as_any_other(host: JoinedHost) -> None:
    with _server_that_breaks_off() as url:
        server = MainServer(url, HostToken.parse(host.token), host.home)
        downloads = file_downloads.FileDownloads(host.home, server)
        downloads.want(["ab" * 32])

        wait_until(lambda: bool(downloads.failure))

    assert "did not come" in downloads.failure
    assert not list((host.home / "artifacts").glob("**/*.onnx"))


@contextmanager
def _server_that_breaks_off() -> Iterator[str]:
    """Answer each request with less than was announced."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"the beginning")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_host_that_seals_where_the_main_server_does_not_is_not_served(
    host: JoinedHost, add_version: AddVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version()
    pull = MainServer.pull
    monkeypatch.setattr(
        MainServer, "pull", lambda server: msgspec.structs.replace(pull(server), encrypts_log=True)
    )

    host.follower.follow()

    assert not host.follower.has_plan
    assert "DRIFTLINE_ENCRYPT_LOG is 1 on the main server" in host.follower.failure


def test_a_plan_that_another_server_signed_is_refused(
    host: JoinedHost, settings: Any, tmp_path: Path
) -> None:
    settings.EDGE_KEY_FILE = tmp_path / "of another installation"
    settings.EDGE_KEY_FILE.write_text("another key")

    host.follower.follow()

    assert not host.follower.has_plan
    assert "make another token on the main server" in host.follower.failure


def test_an_unchanged_plan_is_not_sent_again(host: JoinedHost, add_version: AddVersion) -> None:
    add_version()

    assert host.server.pull() is not None
    assert host.server.pull() is None


@pytest.mark.slow
def test_a_revoked_host_gets_nothing_and_serves_on_with_what_it_has(
    host: JoinedHost, add_version: AddVersion
) -> None:
    add_version()
    host.follow_until(lambda: bool(host.models))
    revoke_host(host=ServingHost.objects.get(), actor="test", now=now())
    add_version()

    host.follower.follow()

    assert [version.version for version in host.plan.models[0].versions] == ["1"]
    assert "401" in host.follower.failure


def test_the_token_of_a_host_opens_nothing_else_and_no_other_token_opens_its_routes(
    host: JoinedHost, model: Model
) -> None:
    _, text = create_token(project=model.project, name="all", scopes=["read", "admin"], actor="test")

    def status(path: str, token: str) -> int:
        answer = requests.get(
            f"{host.url}/api/v1/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        return answer.status_code

    assert status("models", host.token) == 401
    assert status("serving-hosts/self/plan", text) == 401
    assert status("serving-hosts/self/plan", host.token) == 200


def test_a_token_is_not_sent_in_the_clear(host: JoinedHost) -> None:
    with pytest.raises(ValueError, match="use https"):
        MainServer("http://driftline.example", HostToken.parse(host.token), host.home)


@pytest.mark.slow
def test_a_promotion_waits_for_the_processes_of_hosts(
    host: JoinedHost, add_version: AddVersion, model: Model, main_home: Path
) -> None:
    add_version()
    host.follow_until(lambda: bool(host.models))
    host.pretend_process(generation=host.plan.generation - 1)
    host.follower.send_status()

    late = await_uptake(model=model, home=main_home, timeout=0)
    assert [(str(process), "still serves" in reason) for process, reason in late.missing.items()] == [
        ("1 on serving-2", True)
    ]

    host.pretend_process(generation=host.plan.generation)
    host.follower.send_status()
    done = await_uptake(model=model, home=main_home, timeout=0)
    assert [str(process) for process in done.reported] == ["1 on serving-2"]


def test_a_status_that_is_none_is_refused_and_changes_no_page(host: JoinedHost, main_home: Path) -> None:
    status = {
        "instance": "a",
        "generation": 1,
        "failure": "",
        "spool_ends": {},
        "processes": [{}],
        "counts": {},
    }

    answer = requests.post(
        f"{host.url}/api/v1/serving-hosts/self/status",
        json=status, headers={"Authorization": f"Bearer {host.token}"}, timeout=10,
    )  # fmt: skip

    assert answer.status_code == 422
    assert list(live_reports(main_home)) == []


@pytest.mark.slow
def test_a_second_machine_with_the_same_token_is_refused_while_the_first_one_is_there_and_logs_it(
    host: JoinedHost, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    host.follower.follow()
    host.follower.send_status()
    other = join(host.token, "other")
    other.follower.follow()

    other.follower.send_status()
    other.follower.follow()

    assert "Another machine uses the token of serving-2" in other.follower.failure
    assert other.follower.failure in caplog.messages


def test_the_counts_of_a_revoked_host_stay_in_the_sums(host: JoinedHost, main_home: Path) -> None:
    host.follower.follow()
    counts = counts_to_send(host.home) | {"refusals": {"429": 7}}
    write_host_status(main_home, "serving-2", [], counts)

    revoke_host(host=ServingHost.objects.get(), actor="test", now=now())

    assert total_counts(main_home)["refusals"] == {"429": 7}
    assert list((main_home / "serving" / "hosts").iterdir()) == []


def test_a_key_that_sealed_what_still_waits_stays_behind_the_new_one(tmp_path: Path) -> None:
    host_files.write_keys(tmp_path, {"log_key": "first"})
    with closing(SpoolWriter(tmp_path, new_instance_name("main"), seals=True)) as writer:
        writer.append([b"a record"], sync=True)

        host_files.write_keys(tmp_path, {"log_key": "second"})
        host_files.write_keys(tmp_path, {"log_key": "third"})

    assert (tmp_path / KEY_FILE).read_text().split() == ["third", "first"]


@pytest.mark.slow
def test_files_of_versions_that_are_gone_are_removed_after_a_day(
    host: JoinedHost, add_version: AddVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_version()
    host.follow_until(lambda: bool(host.models))
    unused = host.home / "artifacts" / "00" / f"{'0' * 64}.onnx"
    unused.parent.mkdir(exist_ok=True)
    unused.write_bytes(b"an old model")

    host.follower.tidy()
    assert unused.exists()

    monkeypatch.setattr(host_files, "UNUSED_SECONDS", 0.0)
    host.follower.tidy()
    assert not unused.exists()
    assert (host.home / version.path).exists()


def test_the_command_lists_what_each_host_does(host: JoinedHost, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("serving_host", "list")
    assert "serving-2: not joined yet" in capsys.readouterr().out

    host.follower.follow()
    host.follower.send_status()

    call_command("serving_host", "list")
    assert f"serving-2: serves plan {host.plan.generation}" in capsys.readouterr().out


def test_the_name_of_a_revoked_host_is_free_again(host: JoinedHost, join: Join) -> None:
    revoke_host(host=ServingHost.objects.get(), actor="test", now=now())

    _, token = add_host(name="serving-2", actor="test")

    again = join(token)
    again.follower.follow()
    assert again.follower.failure == ""


def test_a_host_without_a_token_hears_how_to_get_one(settings: Any) -> None:
    settings.HOST_TOKEN = ""

    with pytest.raises(CommandError, match="serving_host add NAME"):
        call_command("follow_plan", "https://driftline.example.com")

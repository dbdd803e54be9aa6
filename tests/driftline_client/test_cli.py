"""The command line, against the real API; what needs workers is in tests/flows/installation/test_command_line.py."""

import io
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import driftline_client
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from driftline_client import DriftlineError, credentials
from driftline_client.cli.main import main
from inference.prediction_log.imports import services as imports
from inference.prediction_log.imports.models import Import
from tests.driftline.api.listed_objects import add_incident
from tests.driftline_client.platform import Platform
from tests.driftline_client.server import running_server
from tests.worlds.every_kind import furnish

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Shell = Callable[..., Ended]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """Run `driftline` as a person without a login would, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def logged_in(shell: Shell, platform: Platform) -> Shell:
    assert shell("login", "--url", platform.url, stdin=f"{platform.token}\n").code == 0
    return shell


class TestLogin:
    def test_stores_the_token_where_its_user_alone_can_read_it(
        self, shell: Shell, platform: Platform
    ) -> None:
        ended = shell("login", "--url", f"{platform.url}/", stdin=f"{platform.token}\n")

        path = credentials.stored_path()
        assert (ended.code, str(path) in ended.out, platform.token in ended.out) == (0, True, False)
        assert json.loads(path.read_text()) == {"url": platform.url, "token": platform.token}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.slow
    def test_serves_programs_too(self, logged_in: Shell, platform: Platform) -> None:
        with driftline_client.model("flights", version="1", task="binary", strict=True) as flights:
            flights.log(features={"delay": 4.0}, prediction="late")

        assert platform.get("/models/flights")["task"] == "binary"

    def test_gives_its_token_to_no_other_server(self, logged_in: Shell) -> None:
        with pytest.raises(DriftlineError, match="no token for https://elsewhere"):
            driftline_client.model("flights", "https://elsewhere.example")

    def test_comes_after_the_environment(
        self, logged_in: Shell, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DRIFTLINE_TOKEN", "dl_other")

        assert credentials.access(None, None) == (platform.url, "dl_other")
        assert logged_in("models").code == 1

    def test_refuses_a_token_that_the_server_does_not_know(self, shell: Shell, platform: Platform) -> None:
        ended = shell("login", "--url", platform.url, stdin="dl_wrong\n")

        assert (ended.code, "HTTP 401" in ended.err) == (1, True)
        assert "Settings > Tokens" in ended.err
        assert not credentials.stored_path().exists()

    def test_takes_a_token_that_may_log_alone(self, shell: Shell, platform: Platform) -> None:
        _, token = create_token(
            project=Project.objects.get(), name="logger", scopes=[Scope.LOG], actor="test"
        )

        assert shell("login", "--url", platform.url, stdin=f"{token}\n").code == 0
        assert "Use a token that has this scope" in shell("models").err

    def test_that_was_written_over_says_what_to_run(self, logged_in: Shell) -> None:
        credentials.stored_path().write_text("[]")

        assert "holds no login; run: driftline login" in logged_in("models").err


class TestErrors:
    def test_without_a_token_say_how_to_get_in(self, shell: Shell) -> None:
        ended = shell("models")

        assert ended.code == 1
        assert "set DRIFTLINE_TOKEN" in ended.err
        assert "driftline login --url http://127.0.0.1:8000" in ended.err

    def test_of_an_address_where_nobody_answers_have_a_code_of_their_own(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running_server() as closed:
            pass
        monkeypatch.setenv("DRIFTLINE_URL", closed.url)
        monkeypatch.setenv("DRIFTLINE_TOKEN", "dl_test")

        ended = shell("models", "--json")

        assert (ended.code, "Check the address" in ended.err) == (3, True)
        assert "does not answer" in json.loads(ended.out)["error"]

    def test_name_the_file_that_cannot_be_sent(self, logged_in: Shell, tmp_path: Path) -> None:
        (tmp_path / "rows.xlsx").touch()

        assert "save it as one of them" in logged_in("log", "rows.xlsx", "--model", "flights").err
        assert "No such file" in logged_in("labels", "rows.csv", "--model", "flights").err

    def test_of_usage_show_the_usage(self, shell: Shell) -> None:
        ended = shell("log", "rows.csv")

        assert (ended.code, "--model" in ended.err) == (2, True)


@pytest.mark.parametrize("command", ["login", "log", "labels", "reference", "models", "incidents", "run"])
def test_help_describes_every_argument(command: str, shell: Shell) -> None:
    overview, ended = shell("--help").out, shell(command, "--help")

    described = [line for line in overview.splitlines() if line.split()[:1] == [command]]
    assert len(described) == 1
    assert (ended.code, "--json" in ended.out) == (0, True)


class TestFiles:
    @pytest.fixture
    def worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Import what was uploaded while the command waits, as a worker would."""

        def turn(_: float) -> None:
            for job in Import.objects.filter(state="queued"):
                imports.resume_import(job.pk)

        monkeypatch.setattr("driftline_client.files.sleep", turn)

    @pytest.mark.slow
    def test_of_predictions_and_labels_are_logged(
        self, logged_in: Shell, platform: Platform, tmp_path: Path, worker: None
    ) -> None:
        (tmp_path / "rows.csv").write_text(
            f"id,timestamp,delay,prediction\na,{YESTERDAY:%FT%TZ},4.5,late\nb,{YESTERDAY:%FT%TZ},1.0,on time\n"
        )
        (tmp_path / "labels.csv").write_text("id,label\na,late\nb,late\n")

        logged = logged_in("log", "rows.csv", "--model", "flights", "--version", "1", "--task", "binary")
        labelled = logged_in("labels", "labels.csv", "--model", "flights")

        assert (logged.code, labelled.code) == (0, 0), logged.err + labelled.err
        assert "2 accepted, 0 known already, 0 rejected" in logged.out
        assert "Features: delay" in logged.out
        kept = platform.get("/models/flights/predictions/a")
        assert (kept["features"], kept["labels"][0]["value"]) == ({"delay": 4.5}, "late")

    @pytest.mark.slow
    def test_with_bad_rows_end_with_a_code_and_say_where_they_are(
        self, logged_in: Shell, tmp_path: Path, worker: None
    ) -> None:
        rows = "\n".join(f"{n},{YESTERDAY:%FT%TZ},{n}.5,late" for n in range(20))
        (tmp_path / "rows.csv").write_text(
            f"id,timestamp,delay,prediction\n{rows}\nx,{YESTERDAY:%FT%TZ},far,late\n"
        )

        ended = logged_in("log", "rows.csv", "--model", "flights", "--version", "1", "--task", "binary")
        again = logged_in("log", "rows.csv", "--model", "flights", "--version", "1", "--json")

        assert (ended.code, "20 accepted, 0 known already, 1 rejected" in ended.out) == (1, True), ended.err
        assert "/bad-rows" in ended.out
        assert json.loads(again.out)["existing"] is True

    @pytest.mark.slow
    def test_that_the_server_refuses_name_the_column(self, logged_in: Shell, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("timestamp,delay\n2026-01-01T00:00:00Z,1\n")

        ended = logged_in("log", "rows.csv", "--model", "flights", "--version", "1", "--task", "binary")

        assert (ended.code, "'prediction' is missing" in ended.err) == (1, True)

    @pytest.mark.slow
    def test_with_columns_of_other_names_are_shown_as_guessed_and_imported_once_that_is_confirmed(
        self, logged_in: Shell, platform: Platform, tmp_path: Path, worker: None
    ) -> None:
        rows = "\n".join(f"f-{n};{YESTERDAY:%FT%TZ};{n},5;{n % 2};{n % 2}" for n in range(30))
        (tmp_path / "rows.csv").write_text(f"flight;scored_at;delay;y_pred;late\n{rows}\n")
        log = ("log", "rows.csv", "--model", "flights", "--version", "7", "--task", "binary")

        shown = logged_in(*log)
        chosen = logged_in(*log, "--column", "late=feature", "--json")
        nothing = platform.get("/models/flights/files")["items"]
        imported = logged_in(*log, "--yes")

        assert (shown.code, "--yes" in shown.err) == (1, True)
        roles = {line.split()[0]: line.split()[1] for line in shown.out.splitlines()}
        assert roles == {
            "COLUMN": "ROLE", "flight": "id", "scored_at": "timestamp", "delay": "feature", "y_pred": "prediction",
            "late": "label",
        }  # fmt: skip
        assert json.loads(chosen.out)["preview"]["columns"][4]["role"] == "feature"
        assert nothing == []
        assert (imported.code, "30 accepted" in imported.out) == (0, True), imported.err
        kept = platform.get("/models/flights/predictions/f-3")
        assert (kept["features"], kept["version"], kept["labels"][0]["value"]) == ({"delay": 3.5}, "7", "1")

    @pytest.mark.slow
    def test_that_can_be_understood_in_no_way_say_why(
        self, logged_in: Shell, platform: Platform, tmp_path: Path
    ) -> None:
        (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
        log = ("log", "rows.csv", "--model", "flights", "--task", "binary")

        assert "No column is the timestamp" in logged_in(*log, "--yes").err
        assert "'nothing' is no role" in logged_in(*log, "--column", "a=nothing").err
        assert "no column 'c'" in logged_in(*log, "--column", "c=label").err
        assert platform.get("/models/flights/files")["items"] == []
        assert logged_in(*log, "--column", "a").code == 2


class TestModels:
    @pytest.mark.slow
    def test_are_a_table_and_a_document(self, logged_in: Shell, platform: Platform) -> None:
        assert "There are no models" in logged_in("models").out
        with platform.open("flights") as flights:
            flights.log(features={"delay": 1.0}, prediction="late")

        table, document = logged_in("models").out.splitlines(), json.loads(logged_in("models", "--json").out)

        assert table[0].split()[:3] == ["MODEL", "TASK", "STATUS"]
        assert table[1].split()[:3] == ["flights", "binary", "not_monitored"]
        assert [model["name"] for model in document["items"]] == ["flights"]


class TestIncidents:
    @pytest.fixture
    def incidents(self, platform: Platform) -> None:
        """One of each status, a day apart, of which the newest is resolved."""
        world = furnish(Project.objects.get())
        world.incident.delete()
        for day, status in enumerate(("open", "acknowledged", "resolved")):
            incident = add_incident(world, day + 1)
            incident.status, incident.opened_at = status, YESTERDAY + timedelta(days=day)
            incident.causes = [
                {"kind": "feature", "feature": "delay\x1b[2J", "score": 1.0, "evidence": "moved"}
            ]
            incident.save()

    @pytest.mark.slow
    def test_are_the_unresolved_ones_newest_first(self, logged_in: Shell, incidents: None) -> None:
        shown = json.loads(logged_in("incidents", "--model", "flights", "--json").out)["items"]
        all_of_them = json.loads(logged_in("incidents", "--all", "--json").out)["items"]

        assert [incident["status"] for incident in shown] == ["acknowledged", "open"]
        assert [incident["status"] for incident in all_of_them] == ["resolved", "acknowledged", "open"]

    @pytest.mark.slow
    def test_name_their_causes_and_give_the_terminal_no_orders(
        self, logged_in: Shell, incidents: None
    ) -> None:
        table = logged_in("incidents").out

        assert "delay\\x1b[2J" in table
        assert "\x1b" not in table

    def test_of_a_model_that_is_not_there_are_an_error(self, logged_in: Shell) -> None:
        ended = logged_in("incidents", "--model", "nowhere")

        assert (ended.code, "404" in ended.err) == (1, True)


class TestConfig:
    @pytest.fixture(autouse=True)
    def model(self, platform: Platform) -> None:
        furnish(Project.objects.get())

    @pytest.mark.slow
    def test_is_exported_and_says_that_nothing_differs(self, logged_in: Shell, tmp_path: Path) -> None:
        exported = logged_in("config", "export")
        (tmp_path / "driftline.yaml").write_text(exported.out)

        planned = logged_in("config", "plan", "driftline.yaml")

        assert exported.out.startswith("version: 1\nchannels:\n  mail:\n    kind: email\n")
        assert (planned.code, planned.out) == (0, "Nothing differs.\n")

    @pytest.mark.slow
    def test_is_planned_and_applied(self, logged_in: Shell, tmp_path: Path, platform: Platform) -> None:
        rules = "{r: {metric: accuracy, threshold: 0.75}, new: {metric: label_coverage, threshold: 0.1}}"
        (tmp_path / "rules.yaml").write_text(f"models: {{flights: {{rules: {rules}}}}}")

        planned = logged_in("config", "plan", "rules.yaml")
        refused = logged_in("config", "apply", "rules.yaml")
        applied = logged_in("config", "apply", "rules.yaml", "--yes")

        lines = ["~ rule flights/r", "    threshold: 0.5 -> 0.75", "+ rule flights/new"]
        assert planned.out.splitlines() == [*lines, "To apply: created 1, changed 1, deleted 0."]
        assert (refused.code, refused.out) == (1, "")
        assert "Nothing was applied; --yes applies it without asking." in refused.err
        assert applied.out.splitlines() == [*lines, "Applied: created 1, changed 1, deleted 0."]
        assert {rule["name"]: rule["threshold"] for rule in platform.get("/rules")["items"]} == {
            "r": 0.75,
            "new": 0.1,
        }

    @pytest.mark.slow
    def test_takes_secrets_from_the_environment(
        self, logged_in: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Platform
    ) -> None:
        document = "channels:\n  mail:\n    kind: email\n    target: ${MAIL}  # of the team\n"
        (tmp_path / "channels.yaml").write_text(document)

        missing = logged_in("config", "apply", "channels.yaml", "--yes")
        monkeypatch.setenv("MAIL", "b@example.com")
        applied = logged_in("config", "apply", "channels.yaml", "--yes", "--json")

        assert (missing.code, "The file takes ${MAIL} from the environment" in missing.err) == (1, True)
        assert json.loads(applied.out)["changes"][0]["fields"] == [
            {"name": "target", "before": "a@example.com", "after": "b@example.com"}
        ]

    def test_says_what_is_wrong_in_a_file(self, logged_in: Shell, tmp_path: Path) -> None:
        (tmp_path / "wrong.yaml").write_text("models: {flights: {colour: red}}")

        assert "colour" in logged_in("config", "plan", "wrong.yaml").err
        assert "cannot be read" in logged_in("config", "plan", "none.yaml").err

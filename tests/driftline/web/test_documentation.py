"""The tables that are written from the code, and the pages that are served under /docs/."""

import html
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.management.reference import END, TABLES
from driftline.settings.environment import CHECKOUT, every_setting
from driftline.web.documentation import views
from tests.driftline.web.pages.visitors import viewer_of


class TestWriteReference:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for page in TABLES:
            (tmp_path / page).parent.mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / "docs" / page, tmp_path / page)
        return tmp_path

    def test_has_nothing_to_write_into_the_pages_of_this_commit(self, folder: Path) -> None:
        call_command("write_reference", check=True, folder=folder)

    @pytest.mark.parametrize("page", TABLES, ids=str)
    def test_finds_and_mends_a_stale_page(self, page: Path, folder: Path) -> None:
        fresh = (folder / page).read_text()
        (folder / page).write_text(fresh.replace(END, f"| `DRIFTLINE_OF_BEFORE` | removed |\n{END}"))

        with pytest.raises(CommandError, match=f"1 of {len(TABLES)} pages"):
            call_command("write_reference", check=True, folder=folder)
        call_command("write_reference", folder=folder)

        assert (folder / page).read_text() == fresh

    def test_refuses_a_page_without_a_place_for_the_table(self, folder: Path) -> None:
        (folder / "reference/settings.md").write_text("# Settings\n")

        with pytest.raises(CommandError, match="needs these two lines"):
            call_command("write_reference", folder=folder)

    def test_describes_every_setting_and_every_argument_of_a_command(self) -> None:
        settings = (CHECKOUT / "docs/reference/settings.md").read_text()
        commands = (CHECKOUT / "docs/reference/commands.md").read_text()

        assert [s.name for s in every_setting() if f"`{s.name}`" not in settings] == []
        assert "|  |" not in commands


class TestServedPages:
    @pytest.fixture
    def built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(views, "BUILT_PAGES", tmp_path)
        (tmp_path / "index.html").write_text("<h1>Driftline</h1>")
        return tmp_path

    @pytest.fixture
    def client(self, db: None) -> Client:
        return Client()

    def test_are_there_for_everybody(self, built: Path, client: Client) -> None:
        answer = client.get("/docs/")

        assert answer.content == b"<h1>Driftline</h1>"
        assert answer["Content-Type"] == "text/html"

    def test_show_files_of_the_repository_as_text(self, built: Path, client: Client) -> None:
        (built / "_downloads").mkdir()
        (built / "_downloads/page.html").write_text("<script>")

        assert client.get("/docs/_downloads/page.html")["Content-Type"].startswith("text/plain")

    @pytest.mark.parametrize(
        "path",
        [
            "missing.html",
            "../secret_key",
            "%2e%2e/secret_key",
            "_static",
            "%00",
            "a" * 300,
            "index.html/page",
        ],
    )
    def test_end_where_the_folder_ends(self, path: str, built: Path, client: Client) -> None:
        (built.parent / "secret_key").write_text("secret")
        (built / "_static").mkdir()

        assert client.get(f"/docs/{path}").status_code == 404

    def test_hold_the_wheel_that_the_page_of_first_steps_installs(self, built: Path, client: Client) -> None:
        (built / "driftline_client-1.2.3-py3-none-any.whl").write_bytes(b"PK")
        project = Project.objects.create(slug="bank", name="Bank")

        page = html.unescape(viewer_of(project).get("/start/?with=python").content.decode())
        [url] = re.findall(r"pip install (\S+\.whl)", page)

        answer = client.get(urlsplit(url).path)
        assert (answer.content, answer["Content-Type"]) == (b"PK", "application/octet-stream")
        assert "driftline login --url" in page

    def test_leave_the_sources_where_there_is_no_wheel(self, built: Path, db: None) -> None:
        project = Project.objects.create(slug="bank", name="Bank")

        page = viewer_of(project).get("/start/?with=python").content.decode()

        assert "pip install ./platform/driftline_client" in page

    def test_say_how_to_build_them_where_they_are_not(self, built: Path, client: Client) -> None:
        (built / "index.html").unlink()

        answer = client.get("/docs/")

        assert answer.status_code == 503
        assert "make docs" in answer.content.decode()

    def test_may_run_the_one_script_of_their_theme(self, built: Path, client: Client) -> None:
        policy = client.get("/docs/")["Content-Security-Policy"]

        [script_src] = re.findall(r"script-src ([^;]*)", policy)
        assert re.fullmatch(r"'self' 'sha256-[^' ]+'", script_src)
        assert "unsafe" not in client.get("/accounts/login/")["Content-Security-Policy"]

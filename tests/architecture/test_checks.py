"""Each rule of `make check` fails where it is broken once; for the rules of names see test_words.py, and for pages that
are written from the code tests/driftline/web/test_documentation.py."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tools import needs_tools

pytestmark = [pytest.mark.slow, needs_tools]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that has the checks of this one, with what they need, and nothing to check."""
    shutil.copytree(CHECKOUT / ".ci", tmp_path / ".ci")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(CHECKOUT / ".venv")
    if (CHECKOUT / ".venv-docs").exists():  # else it is made where the test needs it
        (tmp_path / ".venv-docs").symlink_to(CHECKOUT / ".venv-docs")
    return tmp_path


def fail(checkout: Path, name: str) -> str:
    """Run the check of that name, which has to fail, and return what it prints."""
    result = subprocess.run(
        [checkout / ".ci/check", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.splitlines()[0]) == (1, f"FAILED  {name}")
    return result.stdout


class TestTemplates:
    @pytest.fixture
    def checkout(self, checkout: Path) -> Path:
        for folder in ("templates", "monitors"):
            (checkout / folder).mkdir()
            (checkout / folder / "page.html").write_text("<p>A page.</p>\n")
        return checkout

    def test_with_a_line_that_is_too_long_fail(self, checkout: Path) -> None:
        line = f"<pre>{'a' * 130}</pre>"
        (checkout / "monitors/mail.html").write_text(f"{line}\n")

        assert f"monitors/mail.html:1:{line}" in fail(checkout, "templates")

    def test_that_are_not_formatted_fail(self, checkout: Path) -> None:
        (checkout / "templates/mail.html").write_text("<div><p>A mail.</p>\n      </div>\n")

        output = fail(checkout, "templates")

        assert "templates/mail.html" in output
        assert "page.html" not in output


def test_an_import_of_a_later_stage_fails(checkout: Path) -> None:
    for root in ("inference", "monitors"):
        shutil.copytree(
            CHECKOUT / root, checkout / root, ignore=shutil.ignore_patterns("__pycache__", "*.html", "*.onnx")
        )
    (checkout / "inference/registry/planted.py").write_text("import monitors.rules.models\n")

    output = fail(checkout, "import contracts")

    assert "inference.registry.planted -> monitors.rules.models (l.1)" in output
    assert " 1 broken." in output


def test_a_page_with_a_dead_reference_fails(checkout: Path) -> None:
    for path in ("docs/conf.py", "docs/_static/docs.css", "templates/static/driftline.svg"):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / path, checkout / path)
    (checkout / "docs/index.md").write_text("# Driftline\n\n[A page](missing.md) that is not there.\n")

    output = fail(checkout, "documentation")

    assert "docs/index.md:3: WARNING" in output
    assert output.count("WARNING") == 1


def test_a_package_under_a_licence_that_is_not_allowed_fails(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("tzdata==1.0 --hash=sha256:00\npytest==1.0 --hash=sha256:00\n")
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text().replace('"MIT", ', ""))

    output = fail(checkout, "licences")

    assert "pytest is under MIT, which [tool.driftline.licences] does not allow." in output
    assert "tzdata is under" not in output


def test_an_unknown_check_is_refused(checkout: Path) -> None:
    result = subprocess.run([checkout / ".ci/check", "spelling"], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (2, "There is no check 'spelling'.\n")

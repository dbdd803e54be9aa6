"""The image's file: what it copies exists, it runs as nobody special, and what it starts is there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.commands import KNOWN_SETTINGS, check_command
from tests.deploy.containerfile import CONTAINERFILE, words_after
from tests.deploy.places import CHECKOUT, DEPLOY

HADOLINT = Path(sys.executable).with_name("hadolint")


def test_what_is_copied_exists_and_is_not_kept_out_of_the_context() -> None:
    allowed = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    sources = [word for words in words_after("COPY") if "--from" not in words for word in words.split()[:-1]]

    assert sources
    assert [source for source in sources if not (CHECKOUT / source).exists()] == []
    assert [source for source in sources if f"!{source}" not in allowed] == []


def test_packages_are_installed_by_their_hashes() -> None:
    assert any("--require-hashes --requirement requirements.txt" in words for words in words_after("RUN"))


def test_every_extra_is_in_it_unless_fewer_are_named() -> None:
    [named] = [words for words in words_after("ARG") if words.startswith("EXTRAS=")]

    assert named == f'EXTRAS="{" ".join(sorted(path.stem for path in (CHECKOUT / ".ci/extras").iterdir()))}"'


def test_it_runs_as_a_user_of_its_own() -> None:
    [user] = words_after("USER")

    assert user == "10001"
    assert any(f"--uid {user}" in words for words in words_after("RUN"))


def test_its_settings_are_known_and_fit_its_ports() -> None:
    values = dict(re.findall(r"(DRIFTLINE_\w+)=(\S+)", " ".join(words_after("ENV"))))

    assert values.keys() <= KNOWN_SETTINGS
    assert words_after("EXPOSE") == [f"{values['DRIFTLINE_PORT']} {values['DRIFTLINE_GRPC_PORT']}"]
    assert words_after("VOLUME") == [values["DRIFTLINE_HOME"]]


def test_the_command_starts_and_the_health_check_asks_its_port() -> None:
    assert words_after("ENTRYPOINT") == ['["python"]']
    [command] = words_after("CMD")
    [health] = words_after("HEALTHCHECK")

    check_command(json.loads(command))
    assert ":8000/healthz" in health


@pytest.mark.skipif(not HADOLINT.exists(), reason="no package has hadolint for this machine")
def test_hadolint_finds_nothing() -> None:
    ending = subprocess.run([HADOLINT, "--no-color", str(CONTAINERFILE)], capture_output=True, text=True)

    assert (ending.returncode, ending.stdout + ending.stderr) == (0, "")

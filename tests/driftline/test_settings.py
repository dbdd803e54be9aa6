"""What the environment turns into, read as a start reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def setting(home: Path, expression: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    return subprocess.run(
        [sys.executable, "-c", f"from driftline import settings as s; print({expression})"],
        env=kept | {"DRIFTLINE_HOME": str(home)} | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "encrypted"),
    [("smtp", "False False"), ("smtp+starttls", "False True"), ("smtps", "True False")],
)
def test_the_mail_server_is_spoken_to_as_its_url_says(tmp_path: Path, scheme: str, encrypted: str) -> None:
    url = f"{scheme}://ada:p%40ss@mail.example.com:587"

    read = setting(
        tmp_path,
        "s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_HOST_PASSWORD, s.EMAIL_USE_SSL, s.EMAIL_USE_TLS",
        DRIFTLINE_EMAIL_URL=url,
    )

    assert read.stdout.strip() == f"mail.example.com 587 p@ss {encrypted}", read.stderr


@pytest.mark.parametrize(("scheme", "port"), [("smtp", "25"), ("smtp+starttls", "587"), ("smtps", "465")])
def test_the_mail_servers_port_is_the_usual_one_of_its_scheme(tmp_path: Path, scheme: str, port: str) -> None:
    read = setting(tmp_path, "s.EMAIL_PORT", DRIFTLINE_EMAIL_URL=f"{scheme}://mail.example.com")

    assert read.stdout.strip() == port, read.stderr


def test_another_kind_of_mail_url_stops_the_start_with_what_to_write(tmp_path: Path) -> None:
    read = setting(tmp_path, "s.EMAIL_URL", DRIFTLINE_EMAIL_URL="imap://mail.example.com")

    assert read.returncode != 0
    assert (
        "DRIFTLINE_EMAIL_URL is 'imap://mail.example.com'; use a URL such as smtp+starttls://" in read.stderr
    )


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", "['triton']"),
        ("none", "[]"),
        ("triton, tensorflow-serving", "['triton', 'tensorflow-serving']"),
    ],
)
def test_the_names_of_other_servers_are_chosen(tmp_path: Path, text: str, servers: str) -> None:
    read = setting(tmp_path, "s.METRIC_ALIASES", DRIFTLINE_METRIC_ALIASES=text)

    assert read.stdout.strip() == servers, read.stderr


@pytest.mark.parametrize("text", ["torchserve", "triton,none", "triton,triton"])
def test_a_server_without_names_stops_the_start_with_what_to_write(tmp_path: Path, text: str) -> None:
    read = setting(tmp_path, "s.METRIC_ALIASES", DRIFTLINE_METRIC_ALIASES=text)

    assert read.returncode != 0
    assert f"DRIFTLINE_METRIC_ALIASES is '{text}'; use triton, tensorflow-serving, both" in read.stderr


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("DRIFTLINE_OTLP_ENDPOINT", "127.0.0.1:4318", "use a URL such as http://127.0.0.1:4318"),
        ("DRIFTLINE_TRACE_RATIO", "1.5", "use a number from 0 to 1"),
        ("DRIFTLINE_TRACE_RATIO", "nan", "use a number from 0 to 1"),
    ],
)
def test_a_wrong_setting_of_traces_stops_the_start_with_what_to_write(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    read = setting(tmp_path, "s.OTLP_ENDPOINT, s.TRACE_RATIO", **{name: text})

    assert read.returncode != 0
    assert f"{name} is '{text}'; {expected}" in read.stderr

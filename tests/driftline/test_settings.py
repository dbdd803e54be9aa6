"""What the environment turns into, read as a start reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


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


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""),
        ("s3://acme-training/driftline/", "s3://acme-training/driftline"),
        ("file:///mnt/shared", "file:///mnt/shared"),
    ],
)
def test_the_snapshot_store_is_a_bucket_or_a_folder(tmp_path: Path, text: str, url: str) -> None:
    read = setting(tmp_path, "s.SNAPSHOT_STORE", DRIFTLINE_SNAPSHOT_STORE=text)

    assert read.stdout.strip() == url, read.stderr


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@acme-training",
        "s3://acme-training?endpoint_override=elsewhere",
        "s3:///",
        "file:///",
        "file://host/shared",
        "/mnt/shared",
        "https://acme-training.example.com",
    ],
)
def test_another_snapshot_store_stops_the_start_with_what_to_write(tmp_path: Path, text: str) -> None:
    read = setting(tmp_path, "s.SNAPSHOT_STORE", DRIFTLINE_SNAPSHOT_STORE=text)

    assert read.returncode != 0
    assert "use a URL such as s3://bucket/driftline or file:///mnt/shared/driftline" in read.stderr


@pytest.mark.parametrize(
    "text", ["hub.example.com", "https://ada:s3cret@hub.example.com", "https://hub.example.com/?a=b"]
)
def test_another_address_of_the_hub_stops_the_start_with_what_to_write(tmp_path: Path, text: str) -> None:
    read = setting(tmp_path, "s.HUGGING_FACE_URL", DRIFTLINE_HUGGING_FACE_URL=text)

    assert read.returncode != 0
    assert "use an address such as https://huggingface.co, without a query" in read.stderr


def test_the_hub_may_be_a_mirror_below_a_path(tmp_path: Path) -> None:
    read = setting(
        tmp_path, "s.HUGGING_FACE_URL", DRIFTLINE_HUGGING_FACE_URL="https://mirror.example.com/huggingface/"
    )

    assert read.stdout.strip() == "https://mirror.example.com/huggingface", read.stderr


def test_a_databases_url_may_say_how_its_tls_is_checked(tmp_path: Path) -> None:
    url = "postgresql://ada:p%40ss@db.example.com:5433/driftline?sslmode=verify-full&sslrootcert=/etc/ca.pem"

    read = setting(
        tmp_path,
        "[[d['OPTIONS'][k] for k in ('sslmode', 'sslrootcert', 'connect_timeout')] for d in s.DATABASES.values()]",
        DRIFTLINE_DATABASE_URL=url,
        DRIFTLINE_REPLICA_URL=url.replace("db.", "standby."),
    )

    assert read.stdout.strip() == str([["verify-full", "/etc/ca.pem", 5]] * 2), read.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DRIFTLINE_AUDIT_SYSLOG", "siem.example.com:6514"),
        ("DRIFTLINE_AUDIT_SYSLOG", "tls://siem.example.com"),
        ("DRIFTLINE_AUDIT_SYSLOG", "tls://siem.example.com:99999"),
        ("DRIFTLINE_AUDIT_SYSLOG", "https://siem.example.com:6514"),
        ("DRIFTLINE_AUDIT_SYSLOG", "tls://ada:word@siem.example.com:6514"),
        ("DRIFTLINE_AUDIT_OTLP", "collector.example.com:4318"),
        ("DRIFTLINE_AUDIT_OTLP", "https://collector.example.com?token=secret"),
    ],
)
def test_an_address_that_no_receiver_of_the_audit_trail_has_stops_the_start(
    tmp_path: Path, name: str, text: str
) -> None:
    read = setting(tmp_path, "s.AUDIT_SYSLOG", **{name: text})

    assert read.returncode != 0
    assert f"{name} is {text!r}; use " in read.stderr


@pytest.mark.parametrize("folder", ["archive", "/"])
def test_an_archive_of_the_log_needs_a_folder_of_its_own(tmp_path: Path, folder: str) -> None:
    read = setting(tmp_path, "s.WAL_ARCHIVE", DRIFTLINE_WAL_ARCHIVE=folder)

    assert read.returncode != 0
    assert f"DRIFTLINE_WAL_ARCHIVE is {folder!r}; use the absolute path of a folder" in read.stderr


@pytest.mark.parametrize("command", ["check", "up"])
def test_a_command_ends_at_a_wrong_setting_with_the_sentence_alone(tmp_path: Path, command: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    file = tmp_path / "sign-in.yaml"
    file.write_text("providers: 7")

    ended = subprocess.run(
        [sys.executable, str(MANAGE), command],
        env=kept | {"DRIFTLINE_HOME": str(tmp_path / "home"), "DRIFTLINE_SIGN_IN_FILE": str(file)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"DRIFTLINE_SIGN_IN_FILE: {file} cannot be used: ")
    assert ended.stderr.count("\n") == 1

"""The commands of `driftline config`: a project as a file, compared with what there is, and applied."""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from driftline_client.cli.output import Status, print_json, text
from driftline_client.credentials import access
from driftline_client.errors import DriftlineError
from driftline_client.sending.transport import ClientFactory, ask

TIMEOUT_SECONDS = 120.0
SIGNS = {"create": "+", "change": "~", "delete": "-"}
DONE = {"create": "created", "change": "changed", "delete": "deleted"}
_FROM_ENVIRONMENT = re.compile(
    r"(?m)^(?P<before>\s*(?:- )?[^\s#][^\n]*?:\s+)\$\{(?P<name>\w+)\}(?P<after>\s*(?:#.*)?)$"
)


def export(options: argparse.Namespace) -> int:
    """Print the configuration of the project; --json changes nothing of it."""
    with _client() as client:
        sys.stdout.write(ask(client, "GET", "/api/v1/config").text)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Return what applying a file would do."""
    with _client() as client:
        changes = _send(client, "plan", _read(options.file))
    _show(changes, options, applied=False)
    return 0


def apply(options: argparse.Namespace) -> int:
    """Show what a file would do, ask, and do it."""
    document = _read(options.file)
    with _client() as client:
        changes = _send(client, "plan", document)
        if changes and not options.yes and not _is_wanted(changes, options):
            return 1
        applied = _send(client, "apply", document)
    _show(applied, options, applied=True)
    return 0


def _is_wanted(changes: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> bool:
    status = Status()
    for line in _lines(changes):
        status.line(line)
    if options.file == "-" or not sys.stdin.isatty():
        status.line("Nothing was applied; --yes applies it without asking.")
        return False
    return input("Apply this? [y/N] ").strip().lower() in ("y", "yes")


def _show(changes: Sequence[Mapping[str, Any]], options: argparse.Namespace, *, applied: bool) -> None:
    if options.json:
        print_json({"changes": changes})
        return
    for line in _lines(changes):
        print(line)
    print(_summary(changes, applied=applied))


def _summary(changes: Sequence[Mapping[str, Any]], *, applied: bool) -> str:
    if not changes:
        return "Nothing differs."
    actions = [change["action"] for change in changes]
    counts = ", ".join(f"{done} {actions.count(action)}" for action, done in DONE.items())
    return f"{'Applied' if applied else 'To apply'}: {counts}."


def _lines(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write a line for each item, and one for each field of it that changes."""
    lines = []
    for change in changes:
        name = "/".join(text(part) for part in (change["model"], change["name"]) if part)
        name = text(change["name"]) if change["kind"] == "model" else name
        lines.append(f"{SIGNS[change['action']]} {change['kind']} {name}")
        if change["action"] == "change":
            lines += [
                f"    {text(field['name'])}: {_value(field['before'])} -> {_value(field['after'])}"
                for field in change["fields"]
            ]
    return lines


def _value(value: Any) -> str:
    return text(json.dumps(value, ensure_ascii=False))


def _read(path: str) -> bytes:
    """Read a file, with what it takes from the environment put in."""
    try:
        content = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DriftlineError(f"{path} cannot be read: {error}.") from error
    return _FROM_ENVIRONMENT.sub(_from_environment, content).encode()


def _from_environment(found: re.Match[str]) -> str:
    name = found["name"]
    if name not in os.environ:
        raise DriftlineError(f"The file takes ${{{name}}} from the environment, where it is not set; set it.")
    return f"{found['before']}{json.dumps(os.environ[name])}{found['after']}"


def _send(client: httpx.Client, action: str, document: bytes) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/yaml"}
    answer = ask(client, "POST", f"/api/v1/config/{action}", content=document, headers=headers)
    changes: list[dict[str, Any]] = answer.json()["changes"]
    return changes


def _client() -> httpx.Client:
    return ClientFactory(*access(None, None), TIMEOUT_SECONDS)()

"""What each command asks of the API, and what it prints."""

import argparse
import getpass
import shlex
import sys
from collections.abc import Iterator, Mapping
from time import sleep
from typing import Any
from urllib.parse import quote

import httpx

import driftline_client
from driftline_client.cli.output import Status, print_json, print_table, text
from driftline_client.credentials import DEFAULT_URL, Credentials, access, checked_token, store
from driftline_client.errors import DriftlineError
from driftline_client.files import Destination, Import, Kind, follow_import, start_import
from driftline_client.previews import confirm_file, discard_file, preview_again, preview_file
from driftline_client.sending.transport import ClientFactory, ask, poll

TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 1.0
REFERENCE_SECONDS = 600.0
UNPROCESSABLE = 422
ENDED = ("promoted", "rejected", "failed", "cancelled", "rolled_back")
MODELS = {
    "name": "MODEL",
    "task": "TASK",
    "status": "STATUS",
    "champion": "CHAMPION",
    "newest_event": "NEWEST EVENT",
    "missing": "MISSING",
}
COLUMNS = {"name": "COLUMN", "role": "ROLE", "examples": "EXAMPLES", "why": "WHY"}
INCIDENTS = {
    "id": "INCIDENT",
    "severity": "SEVERITY",
    "status": "STATUS",
    "model": "MODEL",
    "opened_at": "OPENED",
    "title": "TITLE",
    "causes": "CAUSES",
}


def login(options: argparse.Namespace) -> int:
    """Ask for the address and the token, try them, and store them."""
    is_typed = sys.stdin.isatty()
    url = options.url or (input(f"Address of Driftline [{DEFAULT_URL}]: ").strip() if is_typed else "")
    url = (url or DEFAULT_URL).rstrip("/")
    token = checked_token(getpass.getpass("Token: ") if is_typed else sys.stdin.readline(), url)
    with ClientFactory(url, token, TIMEOUT_SECONDS)() as client:
        try:
            ask(client, "GET", "/api/v1/models", params={"limit": 1})
        except DriftlineError as error:
            if error.status != 403:  # a token that may only log cannot read, and is right all the same
                raise
    path = store(Credentials(url, token))
    if options.json:
        print_json({"url": url, "stored": str(path)})
    else:
        print(f"Logged in to {url}; the token is in {path}.")
    return 0


def log(options: argparse.Namespace) -> int:
    """Import a file of predictions."""
    return _import(options, "predictions", options.version, options.task)


def labels(options: argparse.Namespace) -> int:
    """Import a file of labels."""
    return _import(options, "labels", None, None)


def reference(options: argparse.Namespace) -> int:
    """Upload a reference."""
    with driftline_client.model(options.model, task=options.task, version=options.version) as model:
        made = model.reference(options.file, wait_s=REFERENCE_SECONDS, positive_class=options.positive_class)
    if options.json:
        print_json(vars(made))
    else:
        print(f"Reference {made.id} of version {text(made.version)} is {made.state}: {made.rows:,} rows.")
        print(f"Columns: {text(made.columns)}")
    return 0


def models(options: argparse.Namespace) -> int:
    """List the models."""
    with _client() as client:
        found = list(_items(client, "/api/v1/models"))
    if options.json:
        print_json({"items": found})
    elif found:
        print_table(MODELS, found)
    else:
        print(
            "There are no models. Create one with: driftline log FILE --model NAME --task binary --version 1"
        )
    return 0


def incidents(options: argparse.Namespace) -> int:
    """List the incidents."""
    of_model = {"model": options.model} if options.model else {}
    wanted = [{}] if options.all else [{"status": "open"}, {"status": "acknowledged"}]
    with _client() as client:
        found = [one for status in wanted for one in _items(client, "/api/v1/incidents", of_model | status)]
    found.sort(key=lambda incident: str(incident["opened_at"]), reverse=True)
    if options.json:
        print_json({"items": found})
    elif found:
        print_table(INCIDENTS, [incident | {"causes": _causes(incident)} for incident in found])
    else:
        print("There are no incidents." if options.all else "There are no unresolved incidents.")
    return 0


def run(options: argparse.Namespace) -> int:
    """Start a run, or find one, and follow it."""
    path = f"/api/v1/models/{quote(options.model, safe='')}/runs"
    with _client() as client:
        if options.id is None:
            found = ask(client, "POST", path, json={"version": options.version or ""})
        else:
            found = ask(client, "GET", f"{path}/{options.id}")
        started = found.json()
        ended = started if options.no_wait else _follow(client, f"{path}/{started['id']}", options.model)
    if options.json:
        print_json(ended)
    else:
        print(_run_sentence(ended))
    return 1 if ended["state"] in ENDED and ended["state"] != "promoted" else 0


def _import(options: argparse.Namespace, kind: Kind, version: str | None, task: str | None) -> int:
    status = Status()

    def show(job: Import) -> None:
        status.update(f"{job['state']}: {job['rows']:,} rows, {job['progress']:.0%}")

    path = f"/api/v1/models/{quote(options.model, safe='')}"
    to = Destination(path, options.model, task, version)
    try:
        with _client() as client:
            job = _start_import(client, options, to, kind)
            if job is None:
                return 1
            job = follow_import(client, to, job, show)
    finally:
        status.clear()
    if options.json:
        print_json(job)
    else:
        print(_import_sentence(job, options.model))
    return 1 if job["rejected"] else 0


def _start_import(
    client: httpx.Client, options: argparse.Namespace, to: Destination, kind: Kind
) -> Import | None:
    """Import a file as its columns are named; where that is refused, as they are guessed, once that is confirmed."""
    refused: DriftlineError | None = None
    if not options.column:
        try:
            return start_import(client, options.file, to, kind)
        except DriftlineError as error:
            if error.status != UNPROCESSABLE:
                raise
            refused = error
    try:
        file = preview_file(client, options.file, to)
        shown = preview_again(client, to, file, {"kind": kind, "columns": dict(options.column)})
    except DriftlineError as error:
        raise refused or error from error
    if not options.yes:
        discard_file(client, to, file)
        _show_guesses(shown, refused, as_json=options.json)
        return None
    columns = {column["name"]: column["role"] for column in shown["columns"]}
    choice = {"kind": kind, "columns": columns, "version": to.version or ""}
    started: Import = confirm_file(client, to, file, choice)["import"]
    return started


def _show_guesses(shown: Mapping[str, Any], refused: DriftlineError | None, *, as_json: bool) -> None:
    """Show what the columns seem to be, and how to have the file imported so."""
    status = Status()
    if refused is not None:
        status.line(f"driftline: {refused}")
    status.line(
        "Nothing was imported. Import it as shown with --yes, or say what a column is: --column NAME=ROLE"
    )
    if as_json:
        print_json({"error": "not_confirmed", "preview": shown})
        return
    print_table(COLUMNS, [column | {"why": _reasons(column)} for column in shown["columns"]])
    for warning in shown["warnings"]:
        print(text(warning))


def _reasons(column: Mapping[str, Any]) -> str:
    return " ".join([column["why"], *column["warnings"]])


def _import_sentence(job: Import, model: str) -> str:
    counts = (
        f"{job['accepted']:,} accepted, {job['duplicates']:,} known already, {job['rejected']:,} rejected"
    )
    lines = [f"Import {job['id']} of {text(job['file'])}: {job['rows']:,} rows, {counts}."]
    if job.get("existing"):
        lines.append("The same file was imported before; nothing was stored twice.")
    if job["features"]:
        lines.append(f"Features: {text(job['features'])}")
    if job["ignored_columns"]:
        lines.append(f"Ignored columns: {text(job['ignored_columns'])}")
    if job["rejected"]:
        rows = f"/api/v1/models/{quote(model, safe='')}/imports/{job['id']}/bad-rows"
        lines.append(f"What is wrong with the rejected rows is in {rows}, and on the model's page Import.")
    return "\n".join(lines)


def _follow(client: httpx.Client, path: str, model: str) -> dict[str, Any]:
    """Show a run's steps as they end, until the run has ended or waits for a person; return it."""
    status, shown = Status(), set[str]()
    try:
        while True:
            found = poll(client, path)
            for step in found["steps"]:
                if step["state"] in ("done", "failed", "skipped") and step["name"] not in shown:
                    shown.add(step["name"])
                    status.line(_step_sentence(step))
            if found["state"] in ENDED or found["needs"] == "person":
                return found
            status.update(_progress(found, shown))
            sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        number = path.rpartition("/")[2]
        status.line(
            f"The run continues. Follow it again: driftline run --model {shlex.quote(model)} --id {number}"
        )
        raise
    finally:
        status.clear()


def _progress(found: Mapping[str, Any], shown: set[str]) -> str:
    unfinished = [step["name"] for step in found["steps"] if step["name"] not in shown]
    waits = f", waits for {found['waiting_for']}" if found["waiting_for"] else ""
    return f"  {' '.join(unfinished[:1])}: {found['state']}{waits}"


def _step_sentence(step: Mapping[str, Any]) -> str:
    reason = f": {step['error']}" if step["error"] else ""
    return f"  {step['name']}: {step['state']}{reason}"


def _run_sentence(found: Mapping[str, Any]) -> str:
    versions = f"version {text(found['challenger'])} against the champion {text(found['champion'])}"
    sentence = f"Run {found['id']} of {text(found['model'])} is {found['state']} ({versions})."
    if found["waiting_for"]:
        sentence += f" It waits for {text(found['waiting_for'])}."
    if found["needs"] == "person":
        sentence += " Approve or reject it on its page: Models > the model > Runs."
    if found["verdict"]:
        sentence += f" The gate says {text(found['verdict'].get('decision'))}: {text(found['verdict'].get('reasons'))}"
    return sentence


def _causes(incident: Mapping[str, Any]) -> list[str]:
    return [cause.get("feature") or cause.get("segment") or "" for cause in incident["causes"]]


def _client() -> httpx.Client:
    return ClientFactory(*access(None, None), TIMEOUT_SECONDS)()


def _items(
    client: httpx.Client, path: str, filters: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the items of all pages of a list."""
    cursor = ""
    while True:
        page = ask(client, "GET", path, params={**(filters or {}), "cursor": cursor}).json()
        yield from page["items"]
        if not page["next"]:
            return
        cursor = page["next"]

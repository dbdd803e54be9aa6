"""Attacks on rights: each thing that can be changed, by tokens that lack one scope, and by people of each role.

A line of `CHANGES` says how one thing of the table of rights is changed over the API and on a page, and which scopes
that takes. The page and the API must agree: a person of a role gets through exactly where a token with the scopes of
that role does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.test import Client
from pytest_django import DjangoDbBlocker

from driftline.api.models import NewModel
from driftline.base.accounts.access.scopes import SCOPE_OF, SCOPES_OF_ROLE, Role, Scope
from driftline.base.accounts.models import CustomRole, Membership, Project, User
from driftline.base.accounts.services import create_project, create_token
from inference.prediction_log.imports.models import UploadedFile
from inference.registry.models import Model
from monitors.rules.models import Rule
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.django_db

CSV = ("text/csv", b"id,label\np1,1\n")
FORM = (
    "multipart/form-data; boundary=x",
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
)
RULE = {"model": "flights", "metric": "accuracy", "operator": "below", "threshold": 0.5}
RULE_FORM = {
    "metric": "accuracy", "span": "day", "operator": "below", "threshold": "0.5", "for_windows": "1",
    "recover_windows": "2", "min_rows": "100", "severity": "warning", "cooldown_hours": "24",
    "notify_within_hours": "24",
}  # fmt: skip
WINDOW = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
KAFKA = {"brokers": ["203.0.113.1:9093"], "topics": ["t"], "security": "tls"}
KAFKA_FORM = {
    "name": "new", "brokers": "203.0.113.1:9093", "topics": "t", "start": "earliest", "security": "tls",
    "mechanism": "PLAIN", "envelope": "json",
}  # fmt: skip
SINK = {"brokers": ["203.0.113.1:9093"], "security": "tls"}
SINK_FORM = {"brokers": "203.0.113.1:9093", "security": "tls", "mechanism": "PLAIN", "streams": "events"}
LAKE = {"bucket": "lake", "region": "us-east-1"}
SETTINGS = {"rows_kept": "all", "sure": "on", "feature_0": "keep"}

READING = {
    "do": "confirm", "encoding": "utf-8", "delimiter": ";", "decimal": ",", "has_header": "yes", "replace": "on",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One way to change a thing: a request with its body, and a page with its form; either may be missing."""

    thing: str
    request: str = ""  # method and path below /api/v1
    body: Any = None  # JSON, or a content type and bytes
    page: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""  # the scope that the address takes anyway
    page_beside: str = ""  # the scope that the page takes anyway, where it is another

    def __str__(self) -> str:
        return f"{self.thing} by {self.request or self.page}"

    @property
    def needed(self) -> set[str]:
        return {SCOPE_OF[self.thing], self.beside} - {""}

    @property
    def for_page(self) -> set[str]:
        return self.needed | {self.page_beside, Scope.READ} - {""}


def of_model(name: str, value: Any, page: str = "", **form: str) -> Change:
    return Change(
        f"model.{name}",
        "PATCH /models/flights",
        {name: value},
        page,
        SETTINGS | form if form else {},
        "write",
    )


def of_new_model(thing: str, name: str, value: Any, **form: str) -> Change:
    body = {"name": "new", "task": "binary", name: value}
    page = "models/new" if form else ""
    return Change(thing, "POST /models", body, page, {"name": "new", "task": "binary"} | form, "write")


CHANGES = [
    of_new_model("model", "description", "d", description="d"),
    of_new_model("model", "objectives", {"latency_p99_ms": 5}, latency_p99_ms="5", autonomy="approve"),
    of_new_model("model.name", "name", "other", description="d"),
    of_new_model("model.task", "task", "regression", description="d"),
    of_new_model("model.autonomy", "autonomy", "auto", autonomy="auto"),
    of_new_model("model.autonomy", "autonomy", "suggest", autonomy="suggest"),
    of_new_model("model.workflow", "workflow", {"pairs": 10}),
    of_new_model("model.privacy", "privacy", {"a": "drop"}),
    of_new_model("model.rows_kept", "rows_kept", "none"),
    of_new_model("model.thumbnail_share", "thumbnail_share", 0.5),
    of_new_model("model.retention_days", "retention_days", 1),
    of_new_model("model.summary_retention_days", "summary_retention_days", 1),
    of_new_model("model.schema_policy", "schema_policy", "strict"),
    of_new_model("model.text_features", "text_features", ["a"]),
    of_new_model("model.segments", "segments", ["a"]),
    of_model("description", "d", "models/flights/settings", description="d"),
    of_model("owner", "o", "models/flights/settings", owner="o"),
    of_model("tags", ["t"], "models/flights/settings", tags="t"),
    of_model("autonomy", "auto", "models/flights/workflow", autonomy="auto"),
    of_model("objectives", {"latency_p99_ms": 5000}, "models/flights/settings", latency_p99_ms="5000"),
    of_model("workflow", {"pairs": 1}, "models/flights/workflow", pairs="1"),
    of_model("schema_policy", "strict", "models/flights/settings", schema_policy="strict"),
    of_model("text_features", ["a"], "models/flights/settings", text_features="a"),
    of_model("positive_class", "1", "models/flights/settings", positive_class="1"),
    of_model("privacy", {"a": "drop"}, "models/flights/settings", feature_0="drop"),
    of_model("rows_kept", "none", "models/flights/settings", rows_kept="none", shown="none None None"),
    of_model("thumbnail_share", 0.5, "models/flights/settings", thumbnail_share="0.5"),
    of_model("retention_days", 1, "models/flights/settings", retention_days="1", shown="all 1 None"),
    of_model("summary_retention_days", 1, "models/flights/settings", summary_retention_days="1", shown="all None 1"),
    Change("model.segments", "PATCH /models/flights", {"segments": []}, "models/flights/segments", {"values": "a"}),
    Change("version", "POST /models/flights/versions", FORM, "models/flights/versions", {"metadata": "{}"}),
    Change(
        "version", "POST /models/flights/pulls", {"url": "https://127.0.0.1"},
        "models/flights/pulls", {"do": "pull", "address": "https://127.0.0.1"},
    ),
    Change(
        "version", "POST /mlflow-imports", {"url": "https://127.0.0.1"}, "mlflow-imports/", {"url": "https://127.0.0.1"},
    ),
    Change("version", "PATCH /models/flights/versions/1", {}, "models/flights/versions/1/quarantine"),
    Change("version", "", None, "models/flights/endpoint", {"url": "http://127.0.0.1:1"}),
    Change("version.artifact", "GET /models/flights/versions/1/artifact"),
    Change("variants", "POST /models/flights/versions/1/variants", None, "models/flights/versions/1/variants"),
    Change(
        "variant.register", "POST /models/flights/versions/1/variants/optimised/register", None,
        "models/flights/versions/1/variants", {"register": "optimised"}, page_beside="write",
    ),
    Change(
        "deployment", "PATCH /models/flights/deployment", {"shadows": []},
        "models/flights/deployment?do=shadow&version=1", {"generation": "1"},
    ),
    Change(
        "deployment", "PATCH /models/flights/deployment", {"canary": {"version": "1", "weight": 0.1}},
        "models/flights/deployment?do=canary&version=1", {"generation": "1", "percent": "5", "key": "subject"},
    ),
    Change(
        "deployment", "POST /models/flights/promote", {"version": "1"},
        "models/flights/deployment?do=promote&version=1", {"generation": "1"},
    ),
    Change("deployment", "POST /models/flights/rollback", {}),
    Change(
        "alias", "PUT /models/flights/aliases/stable", {"version": "1"},
        "models/flights/alias?do=set&alias=stable&version=1",
    ),
    Change("alias", "DELETE /models/flights/aliases/stable", None, "models/flights/alias?do=remove&alias=stable"),
    Change("run", "POST /models/flights/runs", None, "models/flights/runs"),
    Change("run", "POST /models/flights/runs/{run}/approve", None, "models/flights/runs/{run}", {"do": "approve"}),
    Change("run", "POST /models/flights/runs/{run}/pause", None, "models/flights/runs/{run}", {"do": "pause"}),
    Change("run", "POST /models/flights/runs/{run}/resume", None, "models/flights/runs/{run}", {"do": "resume"}),
    Change("run", "POST /models/flights/runs/{run}/roll-back", None, "models/flights/runs/{run}", {"do": "roll_back"}),
    Change(
        "reference", "POST /models/flights/reference", {"kind": "trailing"},
        "models/flights/reference", {"kind": "trailing", "trailing-days": "7", "trailing-gap_days": "1"},
    ),
    Change("reference", "PUT /models/flights/reference", ("text/csv", b"a\n1\n")),
    Change(
        "expectation", "PATCH /models/flights/schema", {"features": {"a": {"least": 0}}},
        "models/flights/expected/a", {"least": "0"},
    ),
    Change(
        "segment", "POST /models/flights/segments", {"conditions": [{"feature": "a", "lower": 0}]},
        "models/flights/segments", {"0-column": "a", "0-lower": "0"},
    ),
    Change(
        "segment", "DELETE /models/flights/segments/{segment}", None,
        "models/flights/segments", {"remove": "{segment}"},
    ),
    Change(
        "custom_metric", "POST /models/flights/custom-metrics", {"name": "sum", "expression": "sum(a)"},
        "models/flights/custom-metrics", {"name": "sum", "expression": "sum(a)"},
    ),
    Change(
        "custom_metric", "PATCH /models/flights/custom-metrics/{custom_metric}", {"unit": "EUR"},
        "models/flights/custom-metrics/{custom_metric}", {"expression": "mean(a)", "unit": "EUR"},
    ),
    Change(
        "custom_metric", "DELETE /models/flights/custom-metrics/{custom_metric}", None,
        "models/flights/custom-metrics/{custom_metric}", {"do": "delete"},
    ),
    Change(
        "monitor", "PATCH /models/flights/monitors/drift", {"span": "week"},
        "models/flights/monitors/drift", {"span": "week"},
    ),
    Change(
        "annotation", "POST /models/flights/annotations", {"start": WINDOW["from"], "text": "new prices"},
        "models/flights/annotations", {"start": "2026-01-01T00:00", "text": "new prices"},
    ),
    Change(
        "annotation", "PATCH /models/flights/annotations/{annotation}", {"text": "newer prices"},
        "models/flights/annotations/{annotation}", {"start": "2026-01-01T00:00", "text": "newer prices"},
    ),
    Change(
        "annotation", "DELETE /models/flights/annotations/{annotation}", None,
        "models/flights/annotations/{annotation}", {"do": "delete"},
    ),
    Change("segment_search", "POST /models/flights/segment-searches", WINDOW, "models/flights/segment-searches"),
    Change("report", "POST /models/flights/reports", WINDOW, "models/flights/reports"),
    Change(
        "report", "DELETE /models/flights/reports/{report}", None,
        "models/flights/reports/{report}", {"do": "delete"},
    ),
    Change(
        "evidence", "POST /models/flights/reports", WINDOW | {"preset": "evidence"},
        "models/flights/reports", {"do": "evidence", "first": "2026-01-01", "last": "2026-01-01"}, "write",
    ),
    Change(
        "rule", "POST /rules", RULE | {"name": "n"},
        "models/flights/rules/new", RULE_FORM | {"name": "n", "action": "notify"},
    ),
    Change(
        "rule", "PATCH /rules/{rule}", {"threshold": 1},
        "models/flights/rules/{rule}", RULE_FORM | {"name": "r", "action": "notify"},
    ),
    Change("rule", "DELETE /rules/{rule}", None, "models/flights/rules/{rule}", {"do": "delete"}),
    Change("rule", "POST /rules/defaults", {"model": "flights"}, "models/flights/rules/defaults"),
    Change(
        "rule.retrain", "POST /rules", RULE | {"name": "n", "action": "retrain"},
        "models/flights/rules/new", RULE_FORM | {"name": "n", "action": "retrain"}, "write",
    ),
    Change(
        "rule.retrain", "PATCH /rules/{rule}", {"action": "retrain"},
        "models/flights/rules/{rule}", RULE_FORM | {"name": "r", "action": "retrain"}, "write",
    ),
    Change(
        "rule.retrain", "PATCH /rules/{retraining}", {"threshold": 0.99},
        "models/flights/rules/{retraining}", RULE_FORM | {"name": "retrain", "action": "retrain"}, "write",
    ),
    Change(
        "rule.retrain", "PATCH /rules/{retraining}", {"action": "notify"},
        "models/flights/rules/{retraining}", RULE_FORM | {"name": "retrain", "action": "notify"}, "write",
    ),
    Change(
        "rule.retrain", "DELETE /rules/{retraining}", None,
        "models/flights/rules/{retraining}", {"do": "delete"}, "write",
    ),
    Change("incident", "POST /incidents/{incident}/acknowledge", None, "incidents/{incident}", {"do": "acknowledge"}),
    Change(
        "delivery", "POST /deliveries/{delivery}/replay", None,
        "incidents/{incident}", {"do": "replay", "delivery": "{delivery}"},
    ),
    Change("silence", "DELETE /silences/{silence}", None, "settings/silences/{silence}/end"),
    Change(
        "silence.all_models", "POST /silences",
        {"all_models": True, "start": WINDOW["from"], "end": WINDOW["to"], "reason": "works"},
        "settings/silences", {"do": "create", "model": "*", "length": "1w", "reason": "works"}, "write",
    ),
    Change(
        "channel", "POST /channels", {"kind": "email", "name": "new", "target": "b@example.com"},
        "settings/channels",
        {"do": "create", "kind": "email", "name": "new", "target": "b@example.com", "min_severity": "warning"},
    ),
    Change(
        "channel", "PATCH /channels/{channel}", {"min_severity": "critical"}, "settings/channels/{channel}",
        {"do": "save", "name": "mail", "target": "", "min_severity": "critical", "enabled": "on"},
    ),
    Change(
        "source", "POST /sources", {"name": "new", "model": "flights", "what": "predictions", "settings": KAFKA},
        "settings/sources/new", KAFKA_FORM | {"model": "flights", "what": "predictions"}, "log",
    ),
    Change(
        "source", "PATCH /sources/flights", {"name": "other"},
        "settings/sources/{source}", {"do": "pause"},
    ),
    Change(
        "source", "PATCH /sources/flights", {"settings": KAFKA},
        "settings/sources/{source}", KAFKA_FORM | {"do": "save"}, "log",
    ),
    Change(
        "source", "POST /sources/flights/dead-letters/retry", None,
        "settings/sources/{source}/dead-letters", {"do": "retry"},
    ),
    Change(
        "source", "DELETE /sources/flights?confirm=flights", None,
        "settings/sources/{source}", {"do": "delete"},
    ),
    Change(
        "routing", "PUT /routing", {"route": {"channels": []}}, "settings/routing",
        {"do": "save", "yaml": "route: {channels: []}"},
    ),
    Change("lake", "PUT /lake", {"settings": LAKE}, "settings/lake", LAKE | {"do": "save"}),
    Change("lake", "DELETE /lake?confirm=s3://lake", None, "settings/lake", {"do": "stop"}),
    Change("sink", "PUT /sink", {"settings": SINK}, "settings/sink", SINK_FORM | {"do": "save"}),
    Change("sink", "DELETE /sink?confirm=ours", None, "settings/sink", {"do": "stop"}),
    Change("routing", "DELETE /routing", None, "settings/routing", {"do": "reset"}),
    Change(
        "configuration", "POST /config/apply", ("application/yaml", b"version: 1"), "settings/configuration",
        {"document": "version: 1", "do": "apply"},
    ),
    Change("predictions", "POST /models/flights/imports/predictions", CSV),
    Change("labels", "POST /models/flights/labels", {"labels": [{"id": "p1", "label": "1"}]}),
    Change("labels", "POST /models/flights/imports/labels", CSV),
    Change(
        "import.cancel", "POST /models/flights/imports/{job}/cancel", None,
        "models/flights/import", {"cancel": "{job}"},
    ),
    Change("import.remove", "DELETE /models/flights/imports/{job}", None, "models/flights/imports/{job}/remove"),
    Change("file", "POST /models/flights/files", ("text/csv", b"a,b\n1,2\n")),
    Change("file", "POST /models/flights/files/{file}/preview", {}),
    Change(
        "reference", "POST /models/flights/files/{file}/confirm", {"kind": "reference"},
        "models/flights/files/{file}", READING | {"kind": "reference"}, "log",
    ),
    Change("file", "DELETE /models/flights/files/{file}", None, "models/flights/files/{file}", {"do": "discard"}),
    Change("model.delete", "DELETE /models/flights", None, "models/flights/delete"),
    of_model("archived", True),
    Change("model.archived", "", None, "models/flights/archive"),
    Change(
        "version", "PATCH /models/flights/versions/1", {"archived": False}, "models/flights/versions/1/archive",
    ),
    Change(
        "reference.archived", "PATCH /models/flights/references/{reference}", {"archived": True},
        "models/flights/references/{reference}/archive",
    ),
    Change(
        "dataset.archived", "PATCH /models/flights/datasets/{dataset}", {"archived": True},
        "models/flights/datasets/{dataset}/archive",
    ),
    Change("version.delete", "DELETE /models/flights/versions/1", None, "models/flights/versions/1/delete"),
    Change(
        "reference.delete", "DELETE /models/flights/references/{reference}", None,
        "models/flights/references/{reference}/delete",
    ),
    Change(
        "dataset.delete", "DELETE /models/flights/datasets/{dataset}", None,
        "models/flights/datasets/{dataset}/delete",
    ),
    Change(
        "device", "POST /device-groups", {"name": "new", "model": "flights"},
        "devices/", {"do": "create", "name": "new", "model": "flights", "sampling": "100"},
    ),
    Change(
        "device", "PATCH /device-groups/{group}", {"sampling": 0.5},
        "devices/groups/{group}", {"do": "settings", "sampling": "50"},
    ),
    Change("device", "DELETE /device-groups/{group}", None, "devices/groups/{group}", {"do": "delete"}),
    Change("device", "", None, "devices/groups/{group}", {"do": "device", "name": "new"}),
    Change(
        "device", "POST /device-groups/{group}/releases", {"version": "1"},
        "devices/groups/{group}", {"do": "release", "version": "1", "rings": "100", "percent": "20"},
    ),
    Change("device", "POST /device-groups/{group}/abort", None, "devices/groups/{group}", {"do": "abort"}),
    Change("device", "POST /devices/{device}/code", None, "devices/{device}/code"),
    Change("device", "POST /devices/{device}/revoke", None, "devices/{device}/revoke"),
    Change("token", "", None, "settings/tokens", {"do": "create", "name": "t", "scopes": "admin"}),
    Change(
        "token", "PATCH /tokens/{revocable}", {"allowed_networks": ["10.0.0.0/8"]},
        "settings/tokens/{revocable}", {"do": "allow", "allowed_networks": "10.0.0.0/8"},
    ),
    Change(
        "token", "POST /tokens/{revocable}/rotate", {}, "settings/tokens/{revocable}",
        {"do": "rotate", "overlap_hours": "0"}, "read",  # nobody gets a secret that may do what they may not
    ),
    Change(
        "role", "POST /roles", {"name": "new", "scopes": ["read"]}, "settings/roles", {"name": "new"},
        "read",  # nobody makes a role with what they lack
    ),
    Change("role", "PATCH /roles/{role}", {"scopes": ["read"]}, "settings/roles/{role}"),
    Change("role", "DELETE /roles/{role}", None, "settings/roles/{role}/remove"),
    Change("team", "POST /teams", {"name": "new"}, "settings/teams", {"name": "new"}),
    Change("team", "PATCH /teams/{team}", {"members": []}, "settings/teams/{team}"),
    Change("team", "DELETE /teams/{team}", None, "settings/teams/{team}/remove"),
    Change(
        "project", "PATCH /projects/ours", {"name": "New"}, "settings/project", {"do": "rename", "name": "Ours"},
    ),
    Change(
        "member", "PATCH /members/{member}", {"role": "viewer"}, "settings/members/{member}", {"role": "viewer"},
        "read",  # nobody gives a role with what they lack
    ),
    Change("member", "DELETE /members/{member}", None, "settings/members/{member}/remove"),
    Change("invitation", "", None, "settings/members", {"do": "invite", "email": "new@example.com", "role": "viewer"}),
    Change("invitation", "POST /invitations", {"email": "other@example.com"}, beside="read"),
    Change("invitation", "POST /invitations/{invitation}/resend", None, beside="read"),
    Change("invitation", "DELETE /invitations/{invitation}", None),
    Change("subject", "DELETE /subjects/nobody", None, "settings/privacy", {"key": "nobody", "sure": "on"}),
    Change("audit", "GET /audit"),
    Change("failed_work", "", None, "models/flights/", {"retry": "1"}),
]  # fmt: skip


LACKING = [scope for scope in Scope if scope != Scope.READ]
OBJECTS = (
    "run", "segment", "report", "rule", "incident", "delivery", "silence", "job", "file", "dataset", "reference",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The project under attack, with a person of each role and a token for each set of scopes."""

    world: World
    retraining: Rule
    program: Client
    people: dict[str, Client]
    tokens: dict[frozenset[str], str]

    def fill(self, text: str) -> str:
        for name in (
            "run",
            "segment",
            "custom_metric",
            "annotation",
            "report",
            "rule",
            "incident",
            "delivery",
            "silence",
            "channel",
            "job",
            "file",
            "dataset",
            "reference",
            "device",
            "member",
            "role",
            "team",
            "invitation",
            "revocable",
        ):
            text = text.replace("{" + name + "}", str(getattr(self.world, name).pk))
        text = text.replace("{source}", str(self.world.dead_letter.source_id))
        text = text.replace("{group}", str(self.world.device.group_id))
        return text.replace("{retraining}", str(self.retraining.pk))


@pytest.fixture(scope="module")
def place(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Place]:
    with rows_of_many_tests(django_db_blocker):
        project = create_project(
            slug="ours", name="Ours", owner=User.objects.create_user("owner@ours.example")
        )
        world = furnish(project)
        retraining = Rule.objects.create(
            project=project, model=world.model, name="retrain", metric="accuracy", threshold=0.5,
            cooldown=world.rule.cooldown, notify_within=world.rule.notify_within, action="retrain",
        )  # fmt: skip
        sets = {frozenset(Scope) - {scope} for scope in Scope} | set(SCOPES_OF_ROLE.values())
        sets |= {frozenset(change.needed) for change in CHANGES}
        sets |= {frozenset({"write"}), frozenset({"deploy"}), frozenset({"write", "deploy"})}
        tokens = {
            scopes: create_token(project=project, name="t", scopes=scopes, actor="t")[1] for scopes in sets
        }
        program = Client(raise_request_exception=False)
        roles: dict[str, set[str]] = {f"no-{scope}": set(Scope) - {scope} for scope in LACKING}
        roles |= {role_with(change.for_page): change.for_page for change in CHANGES if change.page}
        for name, held in roles.items():
            CustomRole.objects.create(project=project, name=name, scopes=sorted(held))
        people = {role: _person(project, role) for role in (*Role, *roles)}
        yield Place(world, retraining, program, people, tokens)


def role_with(scopes: set[str]) -> str:
    """Name the role of the project that has these scopes and no other."""
    return "-".join(["with", *sorted(scopes)])


def _person(project: Project, role: str) -> Client:
    user = User.objects.create_user(f"{role}@ours.example")
    Membership.objects.create(project=project, user=user, role=role)
    client = PagesClient(raise_request_exception=False)
    client.force_login(user)
    return client


def send(place: Place, change: Change, scopes: frozenset[str]) -> Any:
    """Ask for the change with a token of these scopes."""
    method, path = place.fill(change.request).split()
    kind, body = change.body if isinstance(change.body, tuple) else ("application/json", change.body)
    if change.body is None:
        kind, body = "", b""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    token = place.tokens[scopes]
    headers = {"Authorization": f"Bearer {token}", "If-Match": "1"}
    with undone(place):
        UploadedFile.objects.update(created_by=f"token {token[:11]}…")  # who may not read sees its own files
        return place.program.generic(method, f"/api/v1{path}", content, content_type=kind, headers=headers)


def open_page(place: Place, change: Change, role: str) -> Any:
    """Send the form of the change as a person of this role."""
    form = {name: place.fill(value) for name, value in change.form.items()}
    with undone(place):
        return place.people[role].post(f"/{place.fill(change.page)}", form)


@contextmanager
def undone(place: Place) -> Iterator[None]:
    """Take the database back afterwards, so that each attempt finds the same world, and the file that waits in it."""
    place.world.fill("")
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def is_let_in(answer: Any) -> bool:
    assert answer.status_code < 500
    assert answer.status_code not in (401, 404)
    return bool(answer.status_code != 403)


def test_a_token_changes_what_its_scopes_allow_and_lacks_one_in_vain(
    place: Place, subtests: pytest.Subtests
) -> None:
    """A token with the scopes that a thing needs, and no other, gets through; one with all but one of them does not."""
    for change in (one for one in CHANGES if one.request):
        with subtests.test(str(change)):
            for scope in change.needed:
                refused = send(place, change, frozenset(Scope) - {scope})
                assert not is_let_in(refused)
                assert refused.json()["code"] == "insufficient_scope"
                assert f'scope="{scope}"' in refused["WWW-Authenticate"]
            allowed = send(place, change, frozenset(change.needed))
            is_gone = allowed.status_code == 404 and "DELETE" in change.request
            assert is_gone or is_let_in(allowed)


@pytest.mark.slow
def test_a_person_changes_on_a_page_what_a_token_of_their_role_changes(
    place: Place, subtests: pytest.Subtests
) -> None:
    """People of each role send each form: the page lets in whom the table lets in, which is what the API asks too."""
    for change in (one for one in CHANGES if one.page):
        with subtests.test(str(change)):
            let_in = {role: is_let_in(open_page(place, change, role)) for role in Role}

            assert let_in == {role: change.needed <= SCOPES_OF_ROLE[role] for role in Role}


@pytest.mark.slow
def test_a_person_in_a_role_changes_what_its_scopes_allow_and_lacks_one_in_vain(
    place: Place, subtests: pytest.Subtests
) -> None:
    """A role of the project with all but the scope that a thing needs, and one with no other; every role may read.

    A scope that the address of the API takes beside the one of the table is the page's to take or not.
    """
    for change in (one for one in CHANGES if one.page and SCOPE_OF[one.thing] != Scope.READ):
        with subtests.test(str(change)):
            assert not is_let_in(open_page(place, change, f"no-{SCOPE_OF[change.thing]}"))
            assert is_let_in(open_page(place, change, role_with(change.for_page)))


def test_every_thing_of_the_table_is_attacked() -> None:
    assert set(SCOPE_OF) - {change.thing for change in CHANGES} == set()


def test_every_field_of_a_model_is_in_the_table() -> None:
    assert {f"model.{name}" for name in NewModel.model_fields} - set(SCOPE_OF) == set()


def test_a_token_that_may_write_alone_cannot_have_models_deployed_by_themselves(place: Place) -> None:
    """The chain that worked: a token with `write` sets `auto`, adds a rule that retrains, and waits for the rule."""
    write = frozenset({"write"})
    autonomy = of_model("autonomy", "auto")
    rule = next(one for one in CHANGES if one.thing == "rule.retrain")

    refused = [send(place, one, write) for one in (autonomy, rule, of_model("workflow", {"pairs": 1}))]
    alone = send(place, autonomy, frozenset({"deploy"}))
    allowed = send(place, autonomy, frozenset({"write", "deploy"}))

    assert [answer.status_code for answer in refused] == [403, 403, 403]
    faults = [answer.json()["errors"][0] for answer in refused]
    assert {fault["code"] for fault in faults} == {"needs_scope_deploy"}
    assert [fault["pointer"] for fault in faults] == ["/autonomy", "/action", "/workflow"]
    assert (alone.status_code, allowed.status_code) == (403, 200)
    assert not Rule.objects.filter(name="n").exists()


def test_a_refused_change_changes_nothing_of_what_was_sent_with_it(place: Place) -> None:
    """A field that may be changed rides along with one that may not."""
    sent = Change("model", "PATCH /models/flights", {"description": "rides along", "rows_kept": "none"})

    answer = send(place, sent, frozenset({"write", "deploy"}))

    assert answer.status_code == 403
    assert answer.json()["errors"] == [
        {"pointer": "/rows_kept", "code": "needs_scope_admin", "detail": "This needs the scope 'admin'."}
    ]
    assert Model.objects.get(name="flights").description == ""


def test_an_editor_is_offered_no_rule_that_retrains_and_no_other_autonomy(place: Place) -> None:
    pages = {
        role: [
            place.people[role].get(path).content.decode()
            for path in ("/models/flights/rules/new", "/models/new")
        ]
        for role in (Role.EDITOR, Role.ADMIN)
    }

    assert 'value="retrain"' not in pages[Role.EDITOR][0]
    assert 'value="retrain"' in pages[Role.ADMIN][0]
    assert "Only admins of this project choose another." in pages[Role.EDITOR][1]
    assert "Only admins of this project choose another." not in pages[Role.ADMIN][1]

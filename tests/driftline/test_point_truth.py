"""One point says the same wherever it is read: on pages, in the API and its files, in incidents and messages."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from django.test import Client
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project, create_token
from driftline.base.number_format import format_number
from driftline.base.periods import parse_timestamp, rfc3339
from driftline.web.pages.templatetags.figures import figure
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Alert, Channel, Incident
from monitors.alerts.wording import moment
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points
from monitors.rules.judging.judge import judge
from monitors.rules.models import Rule
from monitors.rules.services import create_rule
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, rows_of_a_day

ONE_DAY = timedelta(days=1)
WORLDS, DAYS = 9, 130
SEVERITIES = ("notice", "warning", "critical")
MEASURED = ("ok", "warning", "critical")


@dataclass(frozen=True)
class World:
    """A model with random points of its main metric, rules over it, and the incidents that these opened."""

    model: Model
    rules: Sequence[Rule]
    points: Sequence[MetricPoint]

    @property
    def range(self) -> str:
        """The second half of the time, so that runs begin before it."""
        return f"from={self.first:%Y-%m-%d}T00:00:00Z&to={self.last:%Y-%m-%d}T00:00:00Z"

    @property
    def first(self) -> datetime:
        return DAY + DAYS // 20 * ONE_DAY

    @property
    def last(self) -> datetime:
        return DAY + DAYS * ONE_DAY

    @property
    def shown(self) -> list[MetricPoint]:
        return [point for point in self.points if point.start >= self.first]


@dataclass(frozen=True)
class Statement:
    """What is said of a point: its limit, its status, and since when it is beyond the limit."""

    limit: float | None
    status: str
    since: datetime | None


# -- random worlds -----------------------------------------------------------------------------------------------------
def make_world(project: Project, number: int) -> World:
    rng = Random(number)
    model = create_model(
        project=project, name=f"m{number}", task="binary", actor="test", objectives={"label_lag_hours": 0}
    )
    rules = [
        create_rule(
            project=project, model=model, actor="test", name=f"rule {place}", metric="roc_auc", operator="below",
            threshold=rng.choice([0.65, 0.7, 0.75]), severity=rng.choice(SEVERITIES), min_rows=rng.choice([100, 300]),
            for_windows=rng.choice([1, 2, 3]), recover_windows=rng.choice([1, 2]),
        )
        for place in range(number % 3)
    ]  # fmt: skip
    points = [random_point(model, day, rng) for day in range(DAYS) if rng.random() < 0.95]
    save_points(points)
    log(model, rows_of_a_day(DAY + (DAYS + 1) * ONE_DAY, 1))
    judge(model.pk)
    for rule in rules:
        for transition in rule.transitions.order_by("pk"):
            handle_transition(transition.pk)
    return World(model, rules, points)


def random_point(model: Model, day: int, rng: Random) -> MetricPoint:
    """Draw a point much like those of the days beside it, so that there are runs."""
    is_bad = (day // 7) % 2 == 0
    status = rng.choices(("judged", "insufficient", "no_data"), (9, 1, 1))[0]
    value = round(rng.uniform(0.55, 0.76) if is_bad else rng.uniform(0.64, 0.9), 3)
    threshold = round(rng.uniform(0.6, 0.8), 2)
    half = rng.choice([0.01, 0.2])  # of its interval, which may prove a breach of few rows
    return MetricPoint(
        model=model, role="champion", span="day", start=DAY + day * ONE_DAY, end=DAY + (day + 1) * ONE_DAY,
        metric="roc_auc", value=None if status == "no_data" else value, n=rng.choice([60, 200, 900]),
        lower=value - half, upper=value + half, threshold=threshold, detail={"coverage": 1.0},
        status=rng.choice(MEASURED[1:] if value < threshold else ("ok",)) if status == "judged" else status,
    )  # fmt: skip


# -- what must be said, in the plainest way ----------------------------------------------------------------------------
def says(rule: Rule | None, point: MetricPoint) -> bool | None:
    """Whether a point is beyond a rule's limit, or its calibrated one; None where it does not tell."""
    if point.value is None or point.status not in MEASURED:
        return None
    if rule is None:
        return point.status != "ok"
    assert point.upper is not None
    is_proven = 2 * point.upper - point.value < rule.threshold
    return None if point.n < rule.min_rows and not is_proven else point.value < rule.threshold


def speaker(rules: Sequence[Rule], point: MetricPoint) -> Rule | None:
    judging = [rule for rule in rules if says(rule, point) is not None]
    ordered = sorted(judging, key=lambda rule: (SEVERITIES.index(rule.severity), rule.pk))
    breached = [rule for rule in ordered if says(rule, point)]
    speaking = breached or ordered
    return speaking[-1] if speaking else None


def onset(rule: Rule | None, points: Sequence[MetricPoint], point: MetricPoint) -> datetime:
    since = point.start
    for earlier in reversed([one for one in points if one.start < point.start]):
        if says(rule, earlier) is False:
            break
        if says(rule, earlier):
            since = earlier.start
    return since


def expected(rules: Sequence[Rule], points: Sequence[MetricPoint], point: MetricPoint) -> Statement:
    rule = speaker(rules, point)
    if not says(rule, point):
        return (
            Statement(rule.threshold, "ok", None) if rule else Statement(point.threshold, point.status, None)
        )
    limit, status = (rule.threshold, rule.severity) if rule else (point.threshold, point.status)
    return Statement(limit, status, onset(rule, points, point))


def worst(incident: Incident, points: Sequence[MetricPoint]) -> float:
    """The lowest value of the windows that the rule judged since the problem began."""
    until = incident.resolved_at or DAY + DAYS * ONE_DAY
    judged = [one for one in points if says(incident.rule, one) is not None]
    since = incident.opening.since
    return min(one.value or 0.0 for one in judged if since <= one.start and one.end <= until)


def alert_said(world: World, alert: Alert) -> tuple[MetricPoint, Statement]:
    """The point that an alert fired on, and what must be said of it."""
    point = next(one for one in world.points if one.start == alert.window_start)
    return point, expected([alert.condition], world.points, point)


# -- what is said ------------------------------------------------------------------------------------------------------
def table_of(page: str, chart: str) -> dict[str, tuple[str, str, str]]:
    """Read limit, status and since of each day from the table below a chart."""
    _, _, drawn = page.partition(f'id="chart-{chart}"')
    table = re.search(r"<tbody>(.*?)</tbody>", drawn)
    assert table is not None
    rows: dict[str, tuple[str, str, str]] = {}
    for row in re.findall(r"<tr>(.*?)</tr>", table[1]):
        day = re.search(r'datetime="([^"]+)"', row)
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        assert day is not None
        since = re.search(r'datetime="([^"]+)"', cells[4])
        rows[day[1]] = (cells[2], cells[4].split(" since")[0].strip(), since[1] if since else "")
    return rows


def as_in_table(statement: Statement) -> tuple[str, str, str]:
    status = statement.status.replace("_", " ").capitalize()
    return figure(statement.limit), status, rfc3339(statement.since) if statement.since else ""


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def worlds(owner: User, tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    project = create_project(slug="bank", name="Bank", owner=owner)
    for kind, target in (("email", "a@b.example"), ("webhook", "https://b.example/hook")):
        Channel.objects.create(project=project, kind=kind, name=kind, target=target, min_severity="notice")
    return [make_world(project, number) for number in range(WORLDS)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def client(owner: User, db: None) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client


@pytest.fixture
def api(worlds: list[World], db: None) -> Any:
    """Read a path of the API as JSON, or as another type."""
    _, token = create_token(project=worlds[0].model.project, name="t", scopes=[Scope.READ], actor="test")

    def read(path: str, kind: str = "application/json") -> Any:
        answer = Client().get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}", "Accept": kind})
        assert answer.status_code == 200
        if kind == "application/json":
            return orjson.loads(answer.content)
        return list(csv.DictReader(StringIO(answer.getvalue().decode())))

    return read


class TestAPoint:
    @pytest.mark.slow
    def test_says_the_same_on_the_page_in_the_api_and_in_files(
        self, worlds: list[World], client: Client, api: Any
    ) -> None:
        compared = 0
        for world in worlds:
            must = {one.start: expected(world.rules, world.points, one) for one in world.shown}
            path = f"/models/{world.model.name}/metrics?metric=roc_auc&{world.range}"
            items, lines = api(path)["items"], api(path, "text/csv")
            dates = f"from={world.first:%Y-%m-%d}&to={world.last - ONE_DAY:%Y-%m-%d}"
            page = markup(client.get(f"/models/{world.model.name}/performance?{dates}"))

            assert {
                parse_timestamp(one["start"]): Statement(
                    one["threshold"], one["status"], one["since"] and parse_timestamp(one["since"])
                )
                for one in items
            } == must
            assert [(one["threshold"], one["status"], one["since"]) for one in lines] == [
                (str(one.limit), one.status, rfc3339(one.since) if one.since else "") for one in must.values()
            ]
            rows = table_of(page, "roc_auc")
            assert rows == {rfc3339(start): as_in_table(one) for start, one in must.items()}
            compared += len(must)
        assert compared >= 1_000

    @pytest.mark.slow
    def test_says_the_same_in_its_incident_and_in_every_message(
        self, worlds: list[World], client: Client, api: Any
    ) -> None:
        incidents = Incident.objects.select_related("lead__rule", "lead__model").order_by("pk")
        assert len(incidents) > 20
        for incident in incidents:
            world = next(one for one in worlds if one.model.pk == incident.model_id)
            said = {one.pk: alert_said(world, one) for one in incident.alerts.order_by("pk")}
            assert incident.lead_id is not None
            point, must = said[incident.lead_id]
            assert must.limit is not None
            since = min(one.since for _, one in said.values() if one.since)
            first = next(iter(said.values()))[0]
            severity = max((one.status for _, one in said.values()), key=SEVERITIES.index)

            found = api(f"/incidents/{incident.pk}")
            assert (found["since"], found["detected"], found["severity"]) == (
                rfc3339(since), rfc3339(first.end), severity,
            )  # fmt: skip
            assert {one["id"]: (one["since"], one["detected"], one["severity"]) for one in found["alerts"]} == {
                pk: (rfc3339(one.since), rfc3339(at.end), one.status) for pk, (at, one) in said.items() if one.since
            }  # fmt: skip
            page = markup(client.get(f"/incidents/{incident.pk}"))
            assert table_of(page, "incident")[rfc3339(point.start)] == as_in_table(must)
            assert f'<dt>Since</dt><dd><time datetime="{rfc3339(since)}"' in page
            assert f'<dt>Detected</dt><dd><time datetime="{rfc3339(first.end)}"' in page
            assert f"<dt>Worst value</dt><dd>{figure(worst(incident, world.points))}</dd>" in page
            if incident.events.filter(kind="reopened").exists():
                continue  # its first message was of the limit that was exceeded first, and is not taken back
            messages = incident.deliveries.order_by("pk").exclude(event="incident.resolved")
            mail = messages.filter(channel__kind="email")[0].body
            limits = {one.limit for _, one in said.values() if one.limit}
            assert any(f"below {format_number(limit)}, on" in mail.replace("\n", " ") for limit in limits)
            assert f"Severity: {severity}\n" in mail
            assert f"Since: {moment(since)}\nDetected: {moment(first.end)}\n" in mail
            hook = orjson.loads(messages.filter(channel__kind="webhook")[0].body)
            assert hook["alert"]["threshold"] in limits
            assert hook["incident"]["severity"] == severity
            assert (hook["incident"]["since"], hook["incident"]["detected"]) == (
                rfc3339(since), rfc3339(first.end),
            )  # fmt: skip
            named = [one for _, one in said.values() if one.limit == hook["alert"]["threshold"]]
            assert any(one.since and f"since {moment(one.since)}." in hook["text"] for one in named)

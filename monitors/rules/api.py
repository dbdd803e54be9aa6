"""Rules over HTTP."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import not_found
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, cut_page
from driftline.base.http.responses import Page
from inference.registry.selectors import get_model
from monitors.rules import defaults, services
from monitors.rules.judging import judge
from monitors.rules.judging.reach import Reach, not_tested_because
from monitors.rules.models import Rule
from monitors.rules.schemas import AddedRulesOut, BacktestOut, FiringWindowOut, RuleOut

router = Router(tags=["rules"])

_SECONDS = Field(0.0, ge=0, le=316_224_000, description="seconds of event time")


class RuleSettings(Body):
    """The fields of a rule but its name; those left out keep their value, or get the default in a new rule."""

    metric: str = Field("", max_length=40)
    feature: str = Field("", max_length=200)
    segment: str = Field("", max_length=200)
    condition: dict[str, Any] | None = Field(
        None,
        description="in place of metric, feature, segment, operator and the thresholds: all, any and not over "
        "comparisons, which have a metric, a feature, a segment, an operator and one of threshold, limit, times with "
        "days_before, or deviations with last_windows",
    )
    span: str = Field("auto", description="hour, day, week, month, 2d to 90d, or auto: as its monitor judges")
    operator: str = "above"
    threshold: float = 0.0
    critical_threshold: float | None = Field(
        None, description="a farther threshold, from which on an incident is critical; null: none"
    )
    for_windows: int = Field(
        1,
        description="windows beyond the threshold that open an incident; with span auto days, where weeks are judged",
    )
    of_windows: int | None = Field(None, description="among how many in a row; null: each of them")
    recovery_threshold: float | None = Field(
        None, description="what a good window has to reach; null: the threshold"
    )
    recover_windows: int = 2
    min_rows: int = Field(100, description="in a new rule the rows from which on its metric is judged")
    no_data: str = Field(
        "keep",
        description="what a window says in which the metric has no value or too few rows: keep (nothing), alert, or ok",
    )
    cooldown: float = _SECONDS
    notify_within: float = _SECONDS
    severity: str = "warning"
    action: str = "notify"
    enabled: bool = True
    description: str = Field("", max_length=1_000, description="what it means when it fires")
    owner: str = Field("", max_length=200, description="who answers for it")
    runbook: str = Field(
        "", max_length=500, description="an http or https address of what to do; in every message"
    )

    def settings(self) -> dict[str, Any]:
        """Return the fields that were sent, as the services take them."""
        durations = ("cooldown", "notify_within")
        return {
            name: timedelta(seconds=value) if name in durations else value
            for name, value in self.given().items()
            if name not in ("model", "start")
        }


class RuleChanges(RuleSettings):
    """The fields of a rule; those left out keep their value, or get the default in a new rule."""

    name: str = Field("", min_length=1, max_length=120)


class NewRule(RuleChanges):
    """A rule of a model: a metric against a threshold, or a condition."""

    model: str
    name: str = Field(min_length=1, max_length=120)


class RuleQuestion(RuleChanges):
    """A rule that need not exist, and since when to ask; without `from`, over all that is stored."""

    model: str
    start: Moment | None = Field(None, alias="from")


@router.post("/rules", auth=Scoped(SCOPE_OF["rule"]), response={201: RuleOut})
def create_rule(request: HttpRequest, body: NewRule) -> Status[RuleOut]:
    """Create a rule: when a metric is beyond a threshold for some windows, open an incident, maybe start a run."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=body.model)
    caller.check_rights(services.rights_of_change(None, body.action))
    rule = services.create_rule(project=caller.project, model=model, actor=caller.actor, **body.settings())
    return Status(201, RuleOut.of(rule))


@router.get("/rules", auth=Scoped(Scope.READ), response=Page[RuleOut])
def list_rules(
    request: HttpRequest, model: str | None = None, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[RuleOut]:
    """List the project's rules, or one model's."""
    project = caller_of(request).project
    rules = _rules(project)
    if model is not None:
        rules = rules.filter(model=get_model(project=project, name=model))
    shown, following = cut_page(rules, by=("pk",), cursor=cursor, limit=limit)
    reach = Reach(shown)
    return Page(items=[RuleOut.of(rule, reach) for rule in shown], next=following)


class WhichModel(Body):
    model: str


@router.post("/rules/defaults", auth=Scoped(SCOPE_OF["rule"]), response={201: AddedRulesOut})
def add_default_rules(request: HttpRequest, body: WhichModel) -> Status[AddedRulesOut]:
    """Create the rules that follow from the model's objectives and that any model should have, but for those that it
    has by name; `items` are the new ones."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=body.model)
    added = defaults.add_default_rules(project=caller.project, model=model, actor=caller.actor)
    reach = Reach(added)
    return Status(201, AddedRulesOut(items=[RuleOut.of(rule, reach) for rule in added]))


@router.post("/rules/backtest", auth=Scoped(Scope.READ), response=BacktestOut)
def backtest(request: HttpRequest, body: RuleQuestion) -> BacktestOut:
    """Return when a rule would have fired in the stored past; nothing is kept.

    Where no window that it judges was measured, `note` says why nothing can be said.
    """
    caller = caller_of(request)
    model = get_model(project=caller.project, name=body.model)
    settings = {"name": "back-test"} | body.settings()
    rule = services.new_rule(project=caller.project, model=model, **settings)
    moment = now()
    start = body.start or moment - timedelta(days=3660)
    tested = judge.backtest(rule=rule, start=start, end=moment)
    return BacktestOut(
        would_fire=[FiringWindowOut.of(rule, one) for one in tested.opened],
        windows=tested.judged,
        note=not_tested_because(rule, tested),
    )


@router.get("/rules/{int:rule_id}", auth=Scoped(Scope.READ), response=RuleOut)
def read_rule(request: HttpRequest, rule_id: int) -> RuleOut:
    """Read one rule and where it stands."""
    return RuleOut.of(_find(request, rule_id))


@router.patch("/rules/{int:rule_id}", auth=Scoped(SCOPE_OF["rule"]), response=RuleOut)
def change_rule(request: HttpRequest, rule_id: int, body: RuleChanges) -> RuleOut:
    """Change the fields that are sent."""
    caller, rule = caller_of(request), _find(request, rule_id)
    settings = body.settings()
    caller.check_rights(services.rights_of_change(rule, settings.get("action", "")))
    return RuleOut.of(services.update_rule(rule=rule, actor=caller.actor, **settings))


@router.delete("/rules/{int:rule_id}", auth=Scoped(SCOPE_OF["rule"]), response={204: None})
def delete_rule(request: HttpRequest, rule_id: int) -> Status[None]:
    """Delete a rule; its incidents stay, and those that it keeps open are closed."""
    caller, rule = caller_of(request), _find(request, rule_id)
    caller.check_rights(services.rights_of_change(rule))
    services.delete_rule(rule=rule, actor=caller.actor)
    return Status(204, None)


def _rules(project: Project) -> QuerySet[Rule]:
    return Rule.objects.filter(project=project).select_related("model", "project", "state")


def _find(request: HttpRequest, rule_id: int) -> Rule:
    rule = _rules(caller_of(request).project).filter(pk=rule_id).first()
    if rule is None:
        raise not_found("rule")
    return rule

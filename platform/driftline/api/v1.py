"""The API's first version: the routers of the stages and features, mounted. Every path below is theirs."""

from collections.abc import Callable
from itertools import chain

from django.http import HttpResponse
from django.urls import URLPattern, URLResolver
from django.views.decorators.http import require_safe
from ninja import NinjaAPI

from driftline.api import (
    audit,
    configuration,
    deletion,
    files,
    grafana,
    incidents,
    members,
    models,
    projects,
    roles,
    teams,
    tokens,
)
from driftline.api.description.docs import ServerRenderedDocs
from driftline.api.description.openapi import DescribedAPI
from driftline.api.strictness import JsonRenderer, StrictParser, refuse_unknown_parameters
from driftline.base.feature import features
from driftline.base.http.problems import handle_exceptions, with_problems
from inference.prediction_log import api as prediction_log
from inference.registry import api as registry
from monitors.alerts import api as alerts
from monitors.definitions import api as definitions
from monitors.definitions.custom_metrics import api as custom_metrics
from monitors.feed import api as feed
from monitors.metrics import api as metrics
from monitors.rules import api as rules
from monitors.summaries.uploads import api as summaries
from monitors.workflows import api as workflows

ROUTERS = (
    models.router,
    registry.router,
    prediction_log.router,
    feed.router,  # with the one of halves of events, which has the same path
    files.router,
    deletion.router,
    definitions.router,
    custom_metrics.router,
    summaries.router,
    grafana.router,
    metrics.router,
    rules.router,
    incidents.router,
    alerts.router,
    workflows.router,
    configuration.router,
    projects.router,
    members.router,
    roles.router,
    teams.router,
    tokens.router,
    audit.router,
)


def _mount() -> NinjaAPI:
    api = DescribedAPI(
        title="Driftline",
        version="1",
        description="Models, their predictions and labels, and what is computed and done about them.",
        urls_namespace="api",
        docs=ServerRenderedDocs(),
        docs_decorator=require_safe,
        parser=StrictParser(),
        renderer=JsonRenderer(),
    )
    handle_exceptions(api)
    api.add_decorator(refuse_unknown_parameters, mode="view")
    for router in chain(ROUTERS, *(feature.routers for feature in features())):
        api.add_router("", router)
    return api


def _in_one_shape(patterns: list[URLResolver | URLPattern]) -> list[URLResolver | URLPattern]:
    """Return what ninja answers by itself, such as 405, the shape of everything else."""
    for pattern in patterns:
        assert isinstance(pattern, URLPattern)
        pattern.callback = _csrf_exempt(with_problems(pattern.callback))
    return patterns


def _csrf_exempt(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Writing needs a bearer token, which no other site can send; a session only reads."""
    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view


api = _mount()
_patterns, _app, _namespace = api.urls
urls = (_in_one_shape(_patterns), _app, _namespace)

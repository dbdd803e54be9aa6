"""What the frame of every page needs: who looks, which project, what is open, and what the demo is doing."""

from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from driftline.accounts.models import Project
from driftline.accounts.project_prefix import links_into
from driftline.demo.plan import ModelPlan, load_plans
from driftline.demo.progress import load_story
from driftline.pages.access import Visitor, visitor_of
from driftline.pages.display import display_of
from monitors.alerts.selectors import open_incidents

NAVIGATION = [
    ("overview", "Overview", ("overview",)),
    (
        "models",
        "Models",
        (
            "models",
            "model_new",
            "model",
            "annotations",
            "annotation",
            "annotation_delete",
            "drift",
            "feature",
            "performance",
            "latency",
            "shadow",
            "prediction",
            "predictions",
            "reference",
            "import",
            "versions",
            "version",
            "deployment",
            "alias",
            "quarantine",
            "runs",
            "run",
            "reports",
            "report",
            "report_delete",
            "model_settings",
            "workflow",
            "pipeline",
            "mlflow",
            "mlflow_imports",
            "mlflow_import",
            "pulls",
            "segments",
            "rules",
            "rule",
            "rule_new",
            "rule_delete",
        ),
    ),
    ("incidents", "Incidents", ("incidents", "incident")),
    ("devices", "Devices", ("devices", "device_group", "device_code", "device_revoke")),
    (
        "tokens",
        "Settings",
        (
            "tokens",
            "token",
            "token_revoke",
            "audit",
            "project",
            "roles",
            "role",
            "role_remove",
            "teams",
            "team",
            "team_remove",
            "members",
            "member",
            "member_remove",
            "channels",
            "channel",
            "channel_delete",
            "sources",
            "source",
            "source_new",
            "source_delete",
            "dead_letters",
            "routing",
            "silences",
            "silence_end",
        ),
    ),
    ("start", "Send data", ("start",)),
]


def frame(request: HttpRequest) -> dict[str, Any]:
    """Return the frame of a page; nothing for strangers, for the admin, and for parts of pages."""
    if getattr(request, "user", None) is None or request.path.startswith("/admin/"):
        return {}
    display = {"display": display_of(request)}
    visitor = getattr(request, "visitor", None) or visitor_of(request)
    if visitor is None:
        return display
    current = request.resolver_match.url_name if request.resolver_match else ""
    plans = demo_plans(visitor.project)
    with links_into(visitor.project.slug):
        navigation = [
            (reverse(route), title, current in routes) for route, title, routes in _navigation(plans)
        ]
    return display | {
        "visitor": visitor,
        "api_url": f"{request.scheme}://{request.get_host()}/api/v1",
        "project_path": Project.path_of(visitor.project.slug),
        "projects": _projects(visitor),
        "navigation": navigation,
        "open_count": open_incidents(project=visitor.project).count(),
        "demo": demo_progress(plans),
    }


def _projects(visitor: Visitor) -> list[Project]:
    """List what the person switches between: archived projects are left out, but for the one that is open."""
    shown = Q(archived_at=None) | Q(pk=visitor.project.pk)
    return list(Project.objects.filter(shown, members=visitor.user).order_by("name", "pk"))


def _navigation(plans: list[ModelPlan]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Add the page of the demo in the project that it plays in."""
    return [*NAVIGATION, ("demo", "Demo", ("demo",))] if plans else NAVIGATION


def demo_plans(project: Project) -> list[ModelPlan]:
    """List what the demo plants in a project, in the order of its page."""
    return [plan for plan in load_plans(settings.HOME) if plan.project == project.slug]


def demo_progress(plans: list[ModelPlan]) -> dict[str, Any] | None:
    """Say what the stories of the demo are doing by what they plant; None where none plays."""
    stories = {plan.model: load_story(settings.HOME, plan.model) for plan in plans}
    begun = [story for story in stories.values() if story is not None]
    if not begun:
        return None
    shares = [story.share(plan) if (story := stories[plan.model]) else 0.0 for plan in plans]
    return {
        "lines": [story.sentence() for story in begun],
        "percent": round(100 * sum(shares) / len(shares)),
        "is_live": len(begun) == len(plans) and all(story.is_live for story in begun),
    }

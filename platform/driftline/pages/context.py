"""What the frame of every page needs: who looks, which project, what is open, and what the demo is doing."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from driftline.accounts.models import Project
from driftline.demo.progress import HISTORY, load_progress
from driftline.pages.access import visitor_of
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
            "rules",
            "rule",
            "rule_new",
            "rule_delete",
        ),
    ),
    ("incidents", "Incidents", ("incidents", "incident")),
    ("tokens", "Settings", ("tokens", "token_revoke", "channels")),
    ("start", "Send data", ("start",)),
]


def frame(request: HttpRequest) -> dict[str, Any]:
    """Give the frame of a page; nothing for strangers, for the admin, and for parts of pages."""
    if getattr(request, "user", None) is None or request.path.startswith("/admin/"):
        return {}
    visitor = getattr(request, "visitor", None) or visitor_of(request)
    if visitor is None:
        return {}
    current = request.resolver_match.url_name if request.resolver_match else ""
    return {
        "visitor": visitor,
        "api_url": f"{request.scheme}://{request.get_host()}/api/v1",
        "projects": list(Project.objects.filter(members=visitor.user).order_by("name")),
        "navigation": [(route, title, current in routes) for route, title, routes in NAVIGATION],
        "open_count": open_incidents(project=visitor.project).count(),
        "demo": demo_progress(),
    }


def demo_progress() -> dict[str, Any] | None:
    """Say what the replay of the demo is doing; None where no demo runs."""
    progress = load_progress(settings.HOME)
    if progress is None:
        return None
    in_history = progress.phase == HISTORY
    return {
        "sentence": progress.sentence(),
        "percent": round(progress.share * 100),
        "has_bar": in_history,
        "is_live": progress.phase == "live",
    }

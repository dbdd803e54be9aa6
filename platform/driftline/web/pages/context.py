"""What the frame of every page needs: who looks, which project, what is open, and what the demo is doing."""

from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from driftline.base.accounts.access.project_prefix import links_into
from driftline.base.accounts.models import Project
from driftline.base.feature import PageLink, features
from driftline.demo.plan import ModelPlan, load_plans
from driftline.demo.progress import load_story
from driftline.web.pages.access import Visitor, visitor_of
from driftline.web.pages.account.display import display_of
from monitors.alerts.selectors import open_incidents

NAVIGATION = (
    PageLink("overview", "Overview"),
    PageLink("models", "Models"),
    PageLink("incidents", "Incidents"),
)
SETTINGS = (
    PageLink("tokens", "Tokens"),
    PageLink("members", "Members"),
    PageLink("roles", "Roles"),
    PageLink("teams", "Teams"),
    PageLink("project", "Project"),
    PageLink("channels", "Channels"),
)
SETTINGS_AFTER_FEATURES = (
    PageLink("routing", "Routing"),
    PageLink("silences", "Silences"),
    PageLink("configuration", "As code"),
    PageLink("privacy", "Privacy"),
    PageLink("background", "Background work"),
)
_SECTIONS = {"mlflow-imports": "models"}
"""The entry of the menu by the first word of a page's address, where the two differ."""


def frame(request: HttpRequest) -> dict[str, Any]:
    """Return the frame of a page; nothing for strangers, for the admin, and for parts of pages."""
    if getattr(request, "user", None) is None or request.path.startswith("/admin/"):
        return {}
    display = {"display": display_of(request)}
    visitor = getattr(request, "visitor", None) or visitor_of(request)
    if visitor is None:
        return display
    section = _section_of(request.resolver_match.route) if request.resolver_match else None
    plans = demo_plans(visitor.project)
    links = [(link, section == _section_of(reverse(link.route))) for link in _navigation(plans)]
    with links_into(visitor.project.slug):
        navigation = [(reverse(link.route), link.title, is_current) for link, is_current in links]
    return display | {
        "visitor": visitor,
        "api_url": f"{request.scheme}://{request.get_host()}/api/v1",
        "project_path": Project.path_of(visitor.project.slug),
        "projects": _projects(visitor),
        "navigation": navigation,
        "settings_tabs": _settings_tabs(visitor),
        "open_count": open_incidents(project=visitor.project).count(),
        "demo": demo_progress(plans),
    }


def _projects(visitor: Visitor) -> list[Project]:
    """List what the person switches between: archived projects are left out, but for the one that is open."""
    shown = Q(archived_at=None) | Q(pk=visitor.project.pk)
    return list(Project.objects.filter(shown, members=visitor.user).order_by("name", "pk"))


def _navigation(plans: list[ModelPlan]) -> list[PageLink]:
    """List the entries of the menu; the page of the demo is one in the project that it plays in."""
    of_features = [link for feature in features() for link in feature.navigation]
    demo = [PageLink("demo", "Demo")] if plans else []
    return [*NAVIGATION, *of_features, PageLink("tokens", "Settings"), PageLink("start", "Send data"), *demo]


def _section_of(address: str) -> str:
    """Return the first word of a page's address, which is that of its entry in the menu."""
    word = address.strip("/").partition("/")[0]
    return _SECTIONS.get(word, word)


def _settings_tabs(visitor: Visitor) -> list[PageLink]:
    of_features = [link for feature in features() for link in feature.settings]
    trail = [PageLink("audit", "Audit")] if visitor.may_read_trail else []
    return [*SETTINGS, *of_features, *SETTINGS_AFTER_FEATURES, *trail]


def demo_plans(project: Project) -> list[ModelPlan]:
    """List what the demo plants in a project, in the order of its page."""
    return [plan for plan in load_plans(settings.HOME) if plan.project == project.slug]


def demo_progress(plans: list[ModelPlan]) -> dict[str, Any] | None:
    """Return what the stories of the demo are doing by what they plant; None where none plays."""
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

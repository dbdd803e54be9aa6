"""The sections of the admin's side bar, by what an operator is about to do; what only Driftline needs comes last."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

_SECTIONS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "People",
        ("user", "membership", "customrole", "invitation", "team", "project"),
    ),
    (
        "Sign-in",
        (
            "apitoken",
            "usersession",
            "authenticator",
            "emailaddress",
            "socialaccount",
            "directorytoken",
            "directorygroup",
        ),
    ),
    ("Audit and erasure", ("auditentry", "auditexport", "erasure", "feedevent")),
    (
        "Models",
        ("model", "version", "deployment", "deploymentchange"),
    ),
    ("Runs", ("run", "rollout", "workflow", "step")),
    (
        "Training data",
        ("dataset", "pull", "registryimport", "mlflowversion"),
    ),
    ("Windows", ("summary", "packedpoints", "report", "segmentsearch")),
    ("References", ("reference", "monitor", "segment", "expectation")),
    (
        "Incidents",
        ("incident", "alert", "rule", "transition", "silence"),
    ),
    ("Messages", ("delivery", "channel", "storedrouting", "deliveryattempt", "digest")),
    (
        "Sources",
        ("source", "deadletter", "sourceconsumer", "sourceposition"),
    ),
    (
        "Devices",
        ("device", "devicegroup", "release", "releasetarget"),
    ),
)
_ICONS = {
    "People": "group",
    "Sign-in": "key",
    "Audit and erasure": "policy",
    "Models": "deployed_code",
    "Runs": "cycle",
    "Training data": "database",
    "Windows": "calendar_view_day",
    "References": "rule",
    "Incidents": "warning",
    "Messages": "mail",
    "Sources": "input",
    "Devices": "devices",
}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sections that this person may look at, each with the lists in it, and the rest as *Internals*."""
    lists = {str(model._meta.model_name): model for model in admin.site._registry if _may(request, model)}
    internals = sorted(set(lists) - {name for _, names in _SECTIONS for name in names})
    return [
        {
            "title": title,
            "collapsible": True,
            "items": [_item(lists[name], _ICONS.get(title, "settings")) for name in names if name in lists],
        }
        for title, names in (*_SECTIONS, ("Internals", internals))
        if lists.keys() & set(names)
    ]


def _may(request: HttpRequest, model: Any) -> bool:
    return admin.site._registry[model].has_view_permission(request)


def _item(model: Any, icon: str) -> dict[str, Any]:
    meta = model._meta
    link = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return {"title": capfirst(meta.verbose_name_plural), "icon": icon, "link": link}

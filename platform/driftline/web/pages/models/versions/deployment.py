"""Changes of which version answers: each is asked about on a page that says what it will do, then done and audited."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem, invalid
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.registry import deployments
from inference.registry.models import Deployment, Model, Version
from inference.registry.plan.canary import KEY, CanaryWanted
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.selectors import get_version
from monitors.alerts import selectors
from monitors.alerts.incidents.acting import note_rollback
from monitors.alerts.models import Incident


@dataclass(frozen=True)
class Confirmed:
    """What the form says: the deployment that the person saw, who and why, and the fields of the change."""

    generation: int
    actor: str
    reason: str
    form: Mapping[str, str]


@dataclass(frozen=True)
class DeploymentAction:
    """One kind of change: how it is called, what it does, and the service that does it."""

    title: str
    yes: str
    effect: Callable[[Deployment, Version], list[str]]
    apply: Callable[[Model, Version, Confirmed], Deployment]


@page("GET", "POST", writes="deployment")
def deployment(request: PageRequest, name: str) -> HttpResponse:
    """Show what `?do=...&version=...` will do; a POST does it."""
    frame = frame_of(request, name, "versions")
    model: Model = frame["model"]
    action = request.GET.get("do", "")
    change = CHANGES.get(action)
    if change is None:
        raise Problem(
            400, "unknown_action", f"{action[:40]!r} is no change; use one of {', '.join(CHANGES)}."
        )
    version = _version(model, action, request.GET.get("version", ""))
    incident = _incident(request, model)
    if request.method == "POST":
        change.apply(model, version, _confirmed(request))
        if incident is not None and action == "rollback":
            note_rollback(incident=incident, version=version, actor=request.visitor.actor)
        report_uptake(request, model, change.title.format(version=version.version))
        if incident is not None:
            return redirect("incident", pk=incident.pk)
        return redirect("version", name=name, version=version.version)
    frame |= {
        "action": action,
        "version": version,
        "title": change.title.format(version=version.version),
        "yes": change.yes,
        "may_confirm": request.visitor.may_deploy,
        "effects": change.effect(model.deployment, version),
        "deployment": model.deployment,
        "incident": incident,
    }
    return render(request, "pages/models/versions/deployment.html", frame)


def _incident(request: PageRequest, model: Model) -> Incident | None:
    """Return the incident of this model that the change answers, to which its person comes back."""
    text = request.GET.get("incident", "")
    if not text.isdecimal() or len(text) > 18:
        return None
    return selectors.incidents(project=request.visitor.project, model=model.name).filter(pk=int(text)).first()


def _version(model: Model, action: str, version: str) -> Version:
    """The version that the change is about; for a rollback the champion of before."""
    if action != "rollback":
        return get_version(model=model, version=version)
    if model.deployment.previous is None:
        raise Problem(
            409,
            "no_previous_champion",
            "No champion came before this one, so there is nothing to go back to.",
        )
    return model.deployment.previous


def _confirmed(request: PageRequest) -> Confirmed:
    form = {name: text.strip() for name, text in request.POST.items() if isinstance(text, str)}
    generation = generation_of(form.get("generation", ""))
    return Confirmed(generation, request.visitor.actor, form.get("reason", "")[:500], form)


def generation_of(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise Problem(
            428, "precondition_required", "The form does not say which deployment you saw; open it again."
        )
    return int(text)


def report_uptake(request: HttpRequest, model: Model, what: str) -> None:
    """Report which serving processes have the change, and which have not and why."""
    uptake = await_uptake(model=model, home=settings.HOME)
    for process, reason in uptake.missing.items():
        messages.warning(request, f"Serving process {process} has not taken up the change yet: {reason}")
    count = len(uptake.reported)
    if count and not uptake.missing:
        where = "the serving process has" if count == 1 else f"all {count} serving processes have"
        messages.success(request, f"{what}: done, and {where} it.")
    elif not uptake.missing:
        messages.success(
            request, f"{what}: done. No serving process runs here now; the next one starts with it."
        )


# -- what each does ----------------------------------------------------------------------------------------------------
def _promote_effect(now: Deployment, version: Version) -> list[str]:
    effects = [f"Version {version.version} answers every request from now on, within a second."]
    if now.champion is not None and now.champion != version:
        effects[0] = (
            f"Version {version.version} will answer every request in the place of version {now.champion.version}, "
            "within a second. Requests under way end with the version that they began with."
        )
        effects.append(f"Version {now.champion.version} stays in memory, so that rolling back loads nothing.")
        effects += _canary_ends(now)
    if version in now.shadows.all():
        effects.append(f"Version {version.version} stops shadowing.")
    effects.append(
        "The gate of retrain runs does not judge this change: what you write below is kept as the reason."
    )
    return effects


def rollback_effect(now: Deployment, version: Version) -> list[str]:
    assert now.champion is not None
    return [
        f"Version {version.version} will answer every request in the place of version {now.champion.version}, "
        "within a second. It is still in memory, so nothing is loaded.",
        f"Nothing is deleted, and you can promote version {now.champion.version} again.",
        *_canary_ends(now),
    ]


def _canary_ends(now: Deployment) -> list[str]:
    """Return what another champion does to a running canary."""
    if now.canary is None or now.canary_weight is None:
        return []
    return [
        f"The canary ends: version {now.canary.version} no longer answers {now.canary_weight * 100:g}% of keys."
    ]


def _shadow_effect(now: Deployment, version: Version) -> list[str]:
    champion = now.champion.version if now.champion else "none"
    return [
        f"Version {version.version} will get a copy of each request that version {champion} answers. Its answers are "
        "logged for comparison and no caller sees them.",
        "It runs behind the champion, from a queue that drops copies rather than grow: the champion is not delayed.",
    ]


def _unshadow_effect(now: Deployment, version: Version) -> list[str]:
    return [
        f"Version {version.version} gets no more copies of requests. What it answered so far stays in the log and in "
        "the comparison."
    ]


def _canary_effect(now: Deployment, version: Version) -> list[str]:
    champion = now.champion.version if now.champion else "none"
    return [
        f"Version {version.version} will answer the share of requests that you choose; version {champion} answers the "
        "others. A caller with the same key is always answered by the same side.",
        "It is loaded and tried first; where that fails the champion answers all.",
        "Whether as many keys reach it as its share says is tested and shown on its page.",
    ]


def _uncanary_effect(now: Deployment, version: Version) -> list[str]:
    champion = now.champion.version if now.champion else "none"
    return [
        f"Version {champion} answers every request again, within a second. What the canary answered stays in the log."
    ]


def _promote(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    return deployments.promote(
        model=model, version=version.version, expected_generation=confirmed.generation, actor=confirmed.actor,
        reason=confirmed.reason,
    )  # fmt: skip


def _rollback(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    return deployments.rollback(
        model=model, expected_generation=confirmed.generation, actor=confirmed.actor, reason=confirmed.reason
    )


def _shadow(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    return _set_shadows(model, {*_shadows(model), version.version}, confirmed)


def _unshadow(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    return _set_shadows(model, _shadows(model) - {version.version}, confirmed)


def _shadows(model: Model) -> set[str]:
    return set(model.deployment.shadows.values_list("version", flat=True))


def _set_shadows(model: Model, wanted: set[str], confirmed: Confirmed) -> Deployment:
    return deployments.set_shadows(
        model=model, versions=sorted(wanted), expected_generation=confirmed.generation, actor=confirmed.actor,
        reason=confirmed.reason,
    )  # fmt: skip


def _canary(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    wanted = CanaryWanted(
        version.version, _weight(confirmed.form.get("percent", "")), _key(confirmed.form.get("key", ""))
    )
    return deployments.change_deployment(
        model=model, expected_generation=confirmed.generation, actor=confirmed.actor, reason=confirmed.reason,
        canary=wanted,
    )  # fmt: skip


def _uncanary(model: Model, version: Version, confirmed: Confirmed) -> Deployment:
    return deployments.change_deployment(
        model=model, expected_generation=confirmed.generation, actor=confirmed.actor, reason=confirmed.reason,
        without_canary=True,
    )  # fmt: skip


def _weight(text: str) -> float:
    """Read a share in percent, such as 5 or 2.5."""
    if not re.fullmatch(r"\d{1,2}(\.\d{1,4})?", text) or not float(text):
        raise invalid(
            "/canary/weight", f"{text[:20]!r} is no share; write more than 0 and less than 100 percent."
        )
    return float(text) / 100


def _key(text: str) -> str:
    if not re.fullmatch(KEY, text):
        raise invalid(
            "/canary/key", f"{text[:64]!r} is no key; use subject, client_id or tag: and a tag's name."
        )
    return text


CHANGES = {
    "promote": DeploymentAction("Promote version {version}", "Yes, promote", _promote_effect, _promote),
    "rollback": DeploymentAction(
        "Roll back to version {version}", "Yes, roll back", rollback_effect, _rollback
    ),
    "shadow": DeploymentAction(
        "Start shadow deployment of version {version}", "Yes, start it", _shadow_effect, _shadow
    ),
    "canary": DeploymentAction(
        "Start canary deployment of version {version}", "Yes, start it", _canary_effect, _canary
    ),
    "uncanary": DeploymentAction(
        "End the canary of version {version}", "Yes, end it", _uncanary_effect, _uncanary
    ),
    "unshadow": DeploymentAction(
        "Stop shadow deployment of version {version}", "Yes, stop it", _unshadow_effect, _unshadow
    ),
}

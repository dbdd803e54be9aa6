"""A version that harmed the serving processes again and again is held back; an admin may let it be tried again."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.registry.models import Model, Version
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.selectors import get_version
from inference.registry.versions import update_version
from inference.serving.crashes import CRASH_SECONDS, MAX_CRASHES, read_crashes


@dataclass(frozen=True)
class CrashRecord:
    """What is known of a version's crashes and stalls; `reason` is what it did last, as a predicate."""

    count: int
    last: datetime
    reason: str
    is_held_back: bool

    @property
    def sentence(self) -> str:
        """Return how often it did harm lately, and what came of it."""
        times = "once" if self.count == 1 else f"{self.count} times"
        last = f"{self.last:%-d %b %Y %H:%M} UTC"
        history = f"It harmed the serving processes {times}: on {last} it {self.reason}"
        if self.is_held_back:
            return f"{history}, so it is held back: no process loads it."
        return f"{history}; {MAX_CRASHES} times within {CRASH_SECONDS / 60:.0f} minutes hold a version back."


def crash_records() -> dict[int, CrashRecord]:
    """Read the crashes on this machine, by version id."""
    return {
        version_id: CrashRecord(
            len(crashes.at), datetime.fromtimestamp(crashes.at[-1], UTC), crashes.reason, crashes.quarantined
        )
        for version_id, crashes in read_crashes(settings.HOME).items()
        if crashes.at
    }


@page("GET", "POST", writes="version")
def quarantine(request: PageRequest, name: str, version: str) -> HttpResponse:
    """Show what lifting a version's quarantine does; a POST lifts it."""
    frame = frame_of(request, name, "versions")
    model: Model = frame["model"]
    one = get_version(model=model, version=version)
    record = crash_records().get(one.pk)
    if record is None or not record.is_held_back:
        raise Problem(409, "not_quarantined", f"Version {one.version} is not held back.")
    if request.method == "POST":
        _lift(request, one)
        return redirect("version", name=model.name, version=one.version)
    frame |= {
        "title": f"Lift the quarantine of version {one.version}",
        "effects": [record.sentence, *_effects(model, one)],
        "yes": "Yes, let it be loaded",
        "may_confirm": request.visitor.may_deploy,
    }
    return render(request, "pages/models/versions/confirm.html", frame)


def _effects(model: Model, version: Version) -> list[str]:
    deployment = model.deployment
    loads = "It is loaded again when it is deployed or asked for."
    if version == deployment.champion:
        loads = "It is the champion, so it is loaded within a second and answers every request."
    elif version == deployment.canary or version in deployment.shadows.all():
        loads = "It is deployed, so it is loaded within a second and gets its requests again."
    return [
        loads,
        "A crash or a stall ends the requests that the process had under way; what was answered before is kept in the "
        f"log. After {MAX_CRASHES} of them within {CRASH_SECONDS / 60:.0f} minutes it is held back again.",
    ]


def _lift(request: PageRequest, version: Version) -> None:
    update_version(version=version, actor=request.visitor.actor, lift_quarantine=True)
    uptake = await_uptake(model=version.model, home=settings.HOME)
    messages.success(request, f"The quarantine of version {version.version} is lifted.")
    for process, reason in uptake.missing.items():
        messages.warning(request, f"Serving process {process} has not taken up the change: {reason}")

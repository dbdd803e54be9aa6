"""Settings, Lake: where the finished days of the project's models are kept, and which are still to be written."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from pydantic import ValidationError

from driftline.base.errors import Problem
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import part_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain_settings
from inference.connectors.objects.form import StoreForm
from inference.prediction_log.lake import services
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.selectors import content_of, content_of_models, find_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.store import settings_of


class LakeForm(StoreForm):
    """A bucket with its key, or a folder, and the prefix within it."""

    secret = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "autocomplete": "off", "class": "code"}),
        label="Secret access key",
        help_text="Kept encrypted and not shown again. Empty: what is stored stays.",
    )
    folder = forms.CharField(
        max_length=500,
        required=False,
        help_text="Instead of a bucket: a path of this server, below one of DRIFTLINE_LAKE_FOLDERS.",
    )
    prefix = forms.CharField(  # type: ignore[assignment]  # a form takes its fields out of its class
        max_length=500,
        required=False,
        help_text="A folder within the bucket or folder, such as driftline/credit.",
    )

    def __init__(self, lake: Lake | None, data: Any) -> None:
        super().__init__(data, initial=lake.settings if lake else None)
        self.fields["bucket"].help_text = "Its name alone, such as days; empty for a folder."
        self.fields["access_key_id"].help_text = "Empty: anybody may write to the bucket."
        if lake is not None and lake.secret:
            self.fields["secret"].widget.attrs["placeholder"] = "••••••••"

    def read_settings(self) -> LakeSettings:
        """Return where the lake is; raises ValueError with what pydantic says."""
        return LakeSettings.model_validate(
            {name: self.cleaned_data[name] for name in LakeSettings.model_fields}
        )


@page("GET", "POST", writes="lake")
def lake(request: PageRequest) -> HttpResponse:
    """Show the lake of a project with what is in it; a POST sets it, changes how it is reached, or stops it."""
    project, do = request.visitor.project, request.POST.get("do", "")
    one = find_lake(project=project)
    if do == "stop" and one is not None:
        return _stop(request, one)
    form = LakeForm(one, request.POST if do == "save" else None)
    if form.is_bound and form.is_valid():
        try:
            services.set_lake(
                project=project,
                settings=form.read_settings(),
                actor=request.visitor.actor,
                secret=form.cleaned_data["secret"] or None,
            )
        except (Problem, ValidationError) as error:
            explain_settings(form, error)
        else:
            messages.success(request, "The lake is set; finished days are written to it within minutes.")
            return redirect("lake")
    context: dict[str, Any] = {
        "form": form,
        "lake": one,
        "may_change": request.visitor.may("lake"),
        "managed": managed(project, part_item("lake")),
        "section": "lake",
    }
    if one is not None:
        context |= {
            "location": settings_of(one).location(),
            "content": content_of(one.project),
            "models": content_of_models(project),
        }
    return render(request, "features/lake/lake.html", context, status=422 if form.errors else 200)


def _stop(request: PageRequest, one: Lake) -> HttpResponse:
    location = settings_of(one).location()
    services.stop_lake(lake=one, confirm=location, actor=request.visitor.actor)
    messages.success(request, f"Nothing is written to {location} any more; its files stay.")
    return redirect("lake")


@page("GET")
def stop(request: PageRequest) -> HttpResponse:
    """Ask before a lake is stopped."""
    one = find_lake(project=request.visitor.project)
    if one is None:
        return redirect("lake")
    context = {
        "title": f"Stop the lake {settings_of(one).location()}",
        "effects": [
            f"Its {content_of(one.project).files:,} files stay where they are, and its secret is erased here.",
            "Erasures of people do not reach its files any more: erase them there, or delete the files.",
            "Retention deletes rows without waiting for it.",
        ],
        "yes": "Yes, stop it",
        "may_confirm": request.visitor.may("lake"),
        "section": "lake",
    }
    return render(request, "features/lake/lake_stop.html", context)

"""The page of a model's connection to MLflow: what it follows, its webhook, and what became of each version."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.outbound.secrecy import MAX_SECRET_LENGTH
from driftline.base.periods import counted
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.settings_parts import explain_in
from inference.registry.models import Model
from monitors.workflows.mlflow import services
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.mlflow.schemas import webhook_url
from monitors.workflows.mlflow.selectors import versions_from_mlflow

SHOWN_VERSIONS = 20


class MlflowForm(forms.Form):
    """What to follow. The secret is never shown; an empty field leaves it as it is."""

    url = forms.CharField(
        max_length=services.MAX_URL_LETTERS,
        label="Tracking server",
        help_text="Its address, such as https://mlflow.example.com.",
    )
    registered_model = forms.CharField(max_length=services.MAX_NAME_LETTERS, label="Registered model")
    alias = forms.CharField(
        max_length=100,
        initial="challenger",
        label="Alias to follow",
        help_text="The version that gets it is compared with the champion.",
    )
    secret = forms.CharField(
        required=False,
        max_length=MAX_SECRET_LENGTH,
        label="Secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    polls = forms.BooleanField(
        required=False,
        initial=True,
        label="Ask MLflow every minute",
        help_text="Without it only webhooks say when to ask.",
    )

    def __init__(self, connection: MlflowConnection | None, data: Any = None) -> None:
        names = services.SETTINGS if connection else ()
        super().__init__(data, initial={name: getattr(connection, name) for name in names})
        has_secret = connection is not None and bool(connection.secret)
        self.fields["secret"].help_text = "A token, or user:password. " + (
            "One is stored for this address; leave this empty to keep it."
            if has_secret
            else "None is stored; a server without a login needs none."
        )

    def changes(self) -> dict[str, Any]:
        """Return what was sent, as the service takes it."""
        values = dict(self.cleaned_data)
        return values | {"secret": values["secret"] or None}


@page("GET", "POST", writes="model.workflow")
def mlflow(request: PageRequest, name: str) -> HttpResponse:
    """Show the connection; a POST stores or ends it, makes the webhook's secret anew, or tries again what failed."""
    frame = frame_of(request, name, "workflow")
    model, actor = frame["model"], request.visitor.actor
    action, secret = request.POST.get("do", "") if request.method == "POST" else "", ""
    connection = MlflowConnection.objects.filter(model=model).select_related("model__project").first()
    form = MlflowForm(connection, request.POST if action == "save" else None)
    if action == "save":
        if form.is_valid():
            try:
                connection, secret = services.connect(model=model, actor=actor, **form.changes())
            except Problem as problem:
                explain_in({"mlflow": form}, problem)
            else:
                messages.success(request, "The connection is saved; MLflow is asked now.")
                form = MlflowForm(connection)
    elif action:
        secret = _act(request, action, model)
        if not secret:
            return redirect("mlflow", name=model.name)
    frame |= {
        "form": form,
        "connection": connection,
        "webhook_url": webhook_url(connection) if connection else "",
        "secret": secret,
        "versions": versions_from_mlflow(model)[:SHOWN_VERSIONS],
        "may_change": request.visitor.may("model.workflow"),
    }
    return render(request, "features/mlflow/mlflow.html", frame, status=422 if form.errors else 200)


def _act(request: PageRequest, action: str, model: Model) -> str:
    """Do what a button asks for; returns the webhook's secret where that was made anew."""
    connection, actor = services.get_connection(model), request.visitor.actor
    match action:
        case "rotate":
            return services.rotate_webhook_secret(connection=connection, actor=actor, now=now())
        case "retry":
            retried = services.retry(connection=connection, actor=actor)
            messages.success(request, f"MLflow is asked now; {counted(retried, 'failure')} are tried again.")
        case "disconnect":
            services.disconnect(connection=connection, actor=actor)
            messages.success(request, "MLflow is not followed any more; what came from it stays.")
        case _:
            raise Problem(422, "unknown_action", f"{action[:40]!r} is not an action here.")
    return ""

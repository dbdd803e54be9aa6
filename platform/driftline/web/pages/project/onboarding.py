"""The page of first steps: the first prediction, reference and label, with ticks that come by themselves."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from driftline.web.documentation.views import client_wheel
from driftline.web.pages import queries, snippets
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.snippets import Example
from inference.prediction_log.labels.selectors import first_label
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.models import Channel
from monitors.definitions.models import Reference
from monitors.rules.models import Rule

LANGUAGES = ("curl", "python", "csv")
EXAMPLE = "my-model"
MAX_FEATURES = 10


@dataclass(frozen=True)
class OnboardingStep:
    """One of the steps: done or not, and what was received."""

    title: str
    done: bool
    detail: str
    url: str = ""
    link: str = ""


@page("GET")
def start(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    models = list(queries.models_of(project))
    name = request.GET.get("model", "")
    model = next((one for one in models if one.name == name), models[0] if models else None)
    language = request.GET.get("with", "curl")
    tasks = _tasks(request, model)
    context: dict[str, Any] = {
        "models": models,
        "model": model,
        "tasks": tasks,
        "is_done": all(task.done for task in tasks),
        "language": language if language in LANGUAGES else "curl",
        "languages": [("curl", "curl"), ("python", "Python"), ("csv", "CSV")],
        "snippets": _snippets(model),
        "champion": model.deployment.champion if model else None,
    }
    part = request.GET.get("part")
    return render(
        request, "partials/start_tasks.html" if part == "tasks" else "pages/project/start.html", context
    )


def _tasks(request: PageRequest, model: Model | None) -> list[OnboardingStep]:
    token = request.visitor.project.tokens.filter(revoked_at=None).order_by("pk").first()
    tasks = [
        OnboardingStep(
            "A token",
            token is not None,
            f"{token.prefix}… {token.name}" if token else "Programs sign in with it.",
            reverse("tokens"),
            "Make a token",
        ),
    ]
    if model is None:
        tasks.append(
            OnboardingStep(
                "A model", False, "It gives its predictions a name.", reverse("model_new"), "Add a model"
            )
        )
        tasks += [
            OnboardingStep(title, False, "Waiting.")
            for title in ("The first prediction", "A reference", "The first label", "A rule", "A channel")
        ]
        return tasks
    newest = newest_event(model)
    reference = Reference.objects.filter(model=model).order_by("-pk").first()
    labelled = first_label(model)
    rule = Rule.objects.filter(model=model).order_by("pk").first()
    channel = Channel.objects.filter(project=model.project, enabled=True).order_by("pk").first()
    return [
        *tasks,
        OnboardingStep("The first prediction", newest is not None,
             f"Received; newest at {newest:%-d %b %Y %H:%M} UTC." if newest else "Waiting for the first row…",
             reverse("import", args=[model.name]), "Import a file"),
        OnboardingStep("A reference", bool(reference and reference.state == "ready"), _reference_detail(reference),
             reverse("reference", args=[model.name]), "Upload a reference"),
        OnboardingStep("The first label", labelled is not None,
             (f"Received for {labelled}." if labelled else "Received.") if labelled is not None
             else "Waiting; it may arrive days later."),
        OnboardingStep("A rule", rule is not None, rule.name if rule else "So that you need not look every day.",
             reverse("rule_new", args=[model.name]), "Make a rule"),
        OnboardingStep("A channel", channel is not None, channel.name if channel else "Where notifications go.",
             reverse("channels"), "Add your e-mail address"),
    ]  # fmt: skip


def _reference_detail(reference: Reference | None) -> str:
    if reference is None:
        return "What is normal: usually the training data."
    if reference.state == "failed":
        return f"It could not be read: {reference.error}"
    return f"{reference.description[0].upper()}{reference.description[1:]}, {reference.state}."


def _snippets(model: Model | None) -> dict[str, str]:
    name, example = model.name if model else EXAMPLE, _example(model)
    url = f"{settings.PUBLIC_URL}/api/v1/models/{name}"
    return {
        "prediction": snippets.log_a_prediction(url, example),
        "label": snippets.send_a_label(url, example),
        "reference": snippets.send_a_file("PUT", f"{url}/reference", "training.csv"),
        "install": snippets.install_client(settings.PUBLIC_URL, client_wheel()),
        "commands": snippets.log_from_shell(settings.PUBLIC_URL, name),
        "python": snippets.log_from_python(settings.PUBLIC_URL, name, example),
        "predictions_file": snippets.send_a_file("POST", f"{url}/imports/predictions", "newer.csv"),
        "labels_file": snippets.send_a_file("POST", f"{url}/imports/labels", "labels.csv"),
    }


def _example(model: Model | None) -> Example:
    """Return a whole prediction for a model without versions, and the names to fill in for one that has them."""
    champion = model.deployment.champion if model else None
    if champion is None:
        return Example({"income": 52000, "region": "north"})
    features = (champion.signature or {}).get("features") or []
    return snippets.example_to_fill_in(
        champion.version, {one["name"]: one["type"] != "string" for one in features[:MAX_FEATURES]}
    )

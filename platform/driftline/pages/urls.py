"""The routes of the dashboard."""

from django.urls import path

from driftline.pages import (
    access,
    drift,
    incidents,
    model,
    onboarding,
    overview,
    performance,
    rules,
    runs,
    settings,
)

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("demo", overview.demo, name="demo"),
    path("project", access.choose_project, name="choose_project"),
    path("models/", overview.models, name="models"),
    path("models/new", model.new_model, name="model_new"),
    path("models/<name>/", model.health, name="model"),
    path("models/<name>/data.csv", model.data_csv, name="data_csv"),
    path("models/<name>/drift", drift.drift, name="drift"),
    path("models/<name>/features/<path:feature>", drift.feature, name="feature"),
    path("models/<name>/performance", performance.performance, name="performance"),
    path("models/<name>/reference", model.reference, name="reference"),
    path("models/<name>/rollback", model.roll_back, name="rollback"),
    path("models/<name>/runs", runs.runs, name="runs"),
    path("models/<name>/runs/<int:pk>", runs.run, name="run"),
    path("models/<name>/rules", rules.rules, name="rules"),
    path("models/<name>/rules/new", rules.new_rule, name="rule_new"),
    path("models/<name>/rules/<int:pk>", rules.edit_rule, name="rule"),
    path("incidents/", incidents.incidents, name="incidents"),
    path("incidents/<int:pk>", incidents.incident, name="incident"),
    path("settings/tokens", settings.tokens, name="tokens"),
    path("settings/channels", settings.channels, name="channels"),
    path("start/", onboarding.start, name="start"),
]

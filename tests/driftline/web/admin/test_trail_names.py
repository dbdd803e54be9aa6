"""The History page of a row finds the entries of the audit trail that name it, however they do so."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, Membership, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.clock import now
from driftline.operations.models import Heartbeat
from driftline.sign_in.directory.documents import SentGroup
from driftline.sign_in.directory.groups import create_group
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.web.admin.trail_names import names_of
from inference.prediction_log.lake.services import set_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model, Version
from monitors.alerts.incidents.acting import comment
from monitors.alerts.models import Incident
from monitors.archiving import archive_dataset
from monitors.definitions.expectations import expect
from monitors.definitions.models import Monitor
from monitors.definitions.monitors import choose_span
from monitors.definitions.segments import set_segments
from monitors.definitions.services import build_reference
from monitors.optimiser.services import request_optimisation
from monitors.reports.models import Report
from monitors.reports.services import request_evidence, retry_report
from monitors.sinks.services import set_sink
from monitors.sinks.settings import SinkSettings
from tests.driftline.web.admin.histories import actions_of, history_of
from tests.worlds.approvals import make_model
from tests.worlds.every_kind import furnish
from tests.worlds.reports import DAYS

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[4]
NOT_NAMED = {
    "alert",
    "auditentry",
    "channeltimer",
    "deliveryattempt",
    "digest",
    "feedevent",
    "incidentevent",
    "releasetarget",
    "rulestate",
    "step",
    "transition",
    "usersession",
    "variant",
    "changepoint",
    "detectorstate",
    "expectederrors",
    "featureprofile",
    "jointnulldraws",
    "nulldraws",
    "packedpoints",
    "pendingevaluation",
    "pointlimits",
    "stalewindow",
    "unreadday",
    "eventhalf",
    "packedday",
    "plangeneration",
    "predictionchunk",
    "requestcount",
    "requestwait",
    "sinkstream",
    "sourceconsumer",
    "sourceobject",
    "sourceposition",
    "sourcereader",
    "spoolcursor",
    "summedday",
    "touchedperiod",
    "unpackedday",
    "unpublishedchange",
    "disksample",
    "heartbeat",
}
"""Rows that the system writes by itself, and those of which the trail names only what they belong to."""


@pytest.fixture
def project(person: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=person)


@pytest.fixture
def model(project: Project, operator: Client) -> Model:
    return make_model(project)


class TestOfAProject:
    def test_has_what_an_operator_changes_under_an_earlier_name(self, operator: Client) -> None:
        project = Project.objects.create(slug="bank", name="Bank", isolation="none")
        url = reverse("admin:accounts_project_change", args=[project.pk])

        operator.post(url, {"slug": "bank", "name": "Savings", "isolation": "none"})
        operator.post(url, {"slug": "bank", "name": "Savings", "isolation": "process"})

        project.refresh_from_db()
        assert sorted(actions_of(operator, project)) == [
            "project.change",
            "project.change",
            "project.isolation",
        ]

    def test_has_older_entries_that_are_in_the_trail_of_no_project(
        self, operator: Client, project: Project
    ) -> None:
        AuditEntry.objects.create(actor="eve", action="project.change", subject="Bank")
        AuditEntry.objects.create(  # of a project that was deleted
            actor="eve", action="project.archive", subject="bank", project_slug="bank"
        )

        assert actions_of(operator, project) == ["project.change", "project.create"]


class TestOfAPerson:
    def test_has_the_second_factor_that_an_operator_removed(self, operator: Client) -> None:
        ada = User.objects.create_user("ada@bank.example")
        lost = TOTP.activate(ada, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").instance
        operator.post(reverse("admin:mfa_authenticator_delete", args=[lost.pk]), {"post": "yes"})
        found = TOTP.activate(ada, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").instance

        page = history_of(operator, found)

        assert actions_of(operator, ada) == ["mfa.delete"]
        assert [entry.action for entry, _ in page.context["rows"]] == ["mfa.delete"]
        assert "of the same person" in page.content.decode()

    def test_has_the_role_that_an_operator_gave(self, operator: Client, project: Project) -> None:
        ada = User.objects.create_user("ada@bank.example")
        form = {"user": ada.pk, "project": project.pk, "role": "viewer"}

        operator.post(reverse("admin:accounts_membership_add"), form)

        assert actions_of(operator, ada) == ["membership.create"]
        assert actions_of(operator, Membership.objects.get(user=ada)) == ["membership.create"]

    def test_of_a_provider_has_their_groups(self, operator: Client) -> None:
        okta = ProviderSettings(id="okta", name="Okta", issuer="https://okta.example", client_id="driftline")

        group = create_group(okta, SentGroup("risk"))

        assert actions_of(operator, group) == ["group.create"]


class TestOfAModel:
    def test_has_its_expectations_and_the_features_of_its_segments(
        self, operator: Client, model: Model
    ) -> None:
        expect(model=model, changes={"income": {"least": 0}}, actor="ada")
        set_segments(model=model, features=["region"], actor="ada")

        page = history_of(operator, model.expectations.get())

        assert [entry.action for entry, _ in page.context["rows"]] == ["model.expect"]
        assert "may be about other expectations of the same model" in " ".join(page.content.decode().split())
        assert actions_of(operator, model.segment_features.get()) == ["model.segment_features"]

    def test_has_the_files_of_its_references(self, operator: Client, model: Model) -> None:
        Version.objects.create(model=model, version="1")
        files = [
            store_reference(
                model=model, version="1", stream=BytesIO(rows), content_type="text/csv", actor="ada"
            )
            for rows in (b"income,prediction\n1,1\n2,0\n", b"income,prediction\n3,1\n4,0\n")
        ]
        for reference in model.references.order_by("pk"):
            build_reference(reference.pk)
        archive_dataset(dataset=files[0], is_archived=True, actor="ada")

        archived, used = (actions_of(operator, file) for file in files)
        assert archived == ["dataset.archive", "reference.store", "reference.store"]
        assert used == ["reference.store", "reference.store"]
        assert "reference.store" in actions_of(operator, model.references.get(is_active=True))

    def test_has_each_of_its_reports_alone(self, operator: Client, model: Model) -> None:
        first = request_evidence(model=model, period=DAYS, actor="ada")
        second = request_evidence(model=model, period=DAYS, actor="ada")
        Report.objects.filter(pk=first.pk).update(state=Report.State.FAILED)
        retry_report(report=first, actor="ada")

        assert actions_of(operator, first) == ["report.retry", "evidence.request"]
        assert actions_of(operator, second) == ["evidence.request"]
        assert "evidence.request" in actions_of(operator, model)

    def test_has_each_of_its_monitors_alone(self, operator: Client, model: Model) -> None:
        first, second = Monitor.objects.filter(model=model).order_by("pk")[:2]
        for monitor in (first, second):
            choose_span(monitor=monitor, span="week", actor="ada")

        assert actions_of(operator, first) == ["monitor.span"]

    def test_has_its_optimisations(self, operator: Client, model: Model) -> None:
        version = Version.objects.create(model=model, version="1", sha256="0" * 64)

        optimisation = request_optimisation(version=version, actor="ada")

        assert actions_of(operator, optimisation) == ["version.optimise"]


def test_of_an_incident_is_found_after_its_title_changed(operator: Client, model: Model) -> None:
    incident = Incident.objects.create(
        project=model.project,
        model=model,
        title="income moved",
        severity="warning",
        since=now(),
        opened_at=now(),
    )
    comment(incident=incident, text="A new form of the application", actor="ada")
    incident.title = "income and region moved"
    incident.save()

    assert actions_of(operator, incident) == ["incident.comment"]


@pytest.mark.slow
def test_of_a_lake_and_a_sink_has_their_settings(
    operator: Client, project: Project, settings: Any, tmp_path: Path
) -> None:
    settings.LAKE_FOLDERS, settings.OUTBOUND_ALLOW = [str(tmp_path)], ["127.0.0.1/32"]
    lake = set_lake(project=project, settings=LakeSettings(folder=str(tmp_path)), actor="ada")
    sink = set_sink(project=project, settings=SinkSettings(brokers=["127.0.0.1:9092"]), actor="ada")
    set_sink(project=project, settings=SinkSettings(brokers=["127.0.0.1:9093"]), actor="ada")

    assert actions_of(operator, lake) == ["lake.set"]
    assert actions_of(operator, sink) == ["sink.set", "sink.set"]


def test_says_of_which_rows_the_trail_says_nothing(operator: Client) -> None:
    beat, _ = Heartbeat.objects.get_or_create(name="beat", defaults={"at": now()})

    assert "The audit trail does not name heartbeats." in history_of(operator, beat).content.decode()


def test_every_kind_of_row_is_named_by_actions_that_are_written_or_is_known_not_to_be() -> None:
    roots = [ROOT / name for name in ("inference", "monitors", "platform")]
    sources = "\n".join(
        file.read_text() for root in roots for file in root.rglob("*.py") if file.name != "trail_names.py"
    )
    kinds = set(re.findall(r'"([a-z_]+)\.[a-z_{}]+"', sources))
    kinds |= set(re.findall(r'(?:audit_name|kind) ?= ?"([a-z_]+)"', sources))
    named = {model._meta.model_name: names_of(model) for model in admin.site._registry}
    actions = {action for names in named.values() for name in names for action in name.actions}

    assert {kind for kind, names in named.items() if not names} == NOT_NAMED
    assert {one for one in actions if "." not in one and one not in kinds} == set()
    assert {one for one in actions if "." in one and f'"{one}"' not in sources} == {
        *("monitor.create", "monitor.change", "monitor.delete")  # written by the admin, of its `audit_name`
    }


@pytest.mark.slow
def test_opens_for_a_row_of_every_kind(operator: Client, project: Project) -> None:
    furnish(project)
    rows = [row for model in admin.site._registry if (row := model._default_manager.first()) is not None]

    statuses = {row._meta.model_name: history_of(operator, row).status_code for row in rows}

    assert len(statuses) > 40
    assert set(statuses.values()) == {200}

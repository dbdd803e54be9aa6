"""What the doctor finds on the services of this session, which run and are set to forget for speed's sake."""

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from driftline.base.accounts.models import AuditEntry, AuditExport, Project, User
from driftline.base.byte_sizes import format_bytes
from driftline.base.clock import now
from driftline.base.extras import KAFKA
from driftline.base.feature import Finding
from driftline.operations.models import Heartbeat
from driftline.operations.services.diagnosis import diagnose
from driftline.operations.services.ownership import Owner, own
from driftline.operations.services.paths import HomePaths
from inference.hosts.models import ServingHost
from inference.prediction_log.lake.models import Lake, LakeFile
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event
from monitors.sinks.models import Sink, SinkStream
from tests.absent_extras import hide
from tests.certificates import make_certificate
from tests.embedded import make_home
from tests.worlds.approvals import DAY, make_model
from tests.worlds.every_kind import make_source

pytestmark = pytest.mark.django_db


@pytest.fixture
def paths(tmp_path: Path) -> HomePaths:
    return make_home(tmp_path)


def find(paths: HomePaths, subject: str) -> Finding:
    return next(finding for finding in diagnose(paths) if finding.subject == subject)


class TestDiagnose:
    @pytest.mark.parametrize("subject", ["Python", "home", "broker", "database", "migrations"])
    def test_finds_nothing_wrong_with_what_works(self, paths: HomePaths, subject: str) -> None:
        assert find(paths, subject).is_fine

    @pytest.mark.skipif(
        bool(os.environ.get("DRIFTLINE_DATABASE_URL")), reason="a real server keeps its commits"
    )
    def test_warns_of_a_database_that_could_lose_commits(self, paths: HomePaths) -> None:
        finding = find(paths, "commits")

        assert finding.text == "fsync is off, synchronous_commit is off"
        assert finding.remedy.startswith("Set fsync and synchronous_commit to on")

    def test_warns_of_a_worker_that_consumes_nothing(self, paths: HomePaths) -> None:
        Heartbeat.objects.create(name="worker", at=now() - timedelta(minutes=5))

        finding = find(paths, "worker")

        assert finding.text.startswith("consumed its last tick 30")
        assert "restart the worker" in finding.remedy

    def test_names_the_command_that_makes_an_operator_where_none_can_sign_in(self, paths: HomePaths) -> None:
        assert find(paths, "operators").is_fine  # before the first start
        User.objects.create_superuser("ada@bank.example", is_active=False)

        finding = find(paths, "operators")
        call_command("createsuperuser", "--noinput", "--email", "grace@bank.example")

        assert "none can sign in" in finding.text
        assert "manage.py createsuperuser" in finding.remedy
        assert find(paths, "operators") == Finding("operators", "1 can sign in")

    def test_is_patient_with_a_worker_that_has_just_been_started(self, paths: HomePaths) -> None:
        with own(paths, Owner(os.getpid(), "http://here", now().isoformat())):
            finding = find(paths, "worker")

        assert finding.is_fine

    def test_warns_of_a_certificate_that_ends_soon(
        self, paths: HomePaths, tmp_path: Path, settings: Any
    ) -> None:
        settings.TLS_CERTIFICATE, _ = make_certificate(tmp_path)  # for a day

        finding = find(paths, "TLS certificate")

        assert "valid until" in finding.text
        assert "Renew" in finding.remedy

    def test_warns_of_a_certificate_that_cannot_be_read(
        self, paths: HomePaths, tmp_path: Path, settings: Any
    ) -> None:
        settings.TLS_CERTIFICATE = tmp_path / "cut.pem"
        settings.TLS_CERTIFICATE.write_text("-----BEGIN CERTIFICATE-----")

        assert "cannot be read" in find(paths, "TLS certificate").text

    def test_writes_the_room_on_the_disk_as_the_command_for_capacity_does(self, paths: HomePaths) -> None:
        written = find(paths, "disk").text

        free = shutil.disk_usage(paths.home).free
        assert re.fullmatch(r"[\d.]+ (GB|TB|MB) free at .+", written)
        assert abs(float(written.split()[0]) - float(format_bytes(free).split()[0])) < 1

    def test_says_when_a_lake_was_last_written_to(self, paths: HomePaths) -> None:
        model = make_model(Project.objects.create(slug="bank", name="Bank"))
        Lake.objects.create(project=model.project, settings={"bucket": "days"})
        file = LakeFile.objects.create(model=model, day=DAY, number=0, state="waiting", due_at=DAY)
        assert find(paths, "lake of bank") == Finding(
            "lake of bank", "s3://days: nothing was written to it yet"
        )

        file.written_at = DAY
        file.save()

        assert find(paths, "lake of bank").text == "s3://days: last written to 2026-01-05 00:00 UTC"

    def test_warns_of_a_lake_that_cannot_be_written_to(self, paths: HomePaths) -> None:
        project = Project.objects.create(slug="bank", name="Bank")
        lake = Lake.objects.create(project=project, settings={"bucket": "days"})

        lake.failing_since, lake.error = now(), "It answered 403 AccessDenied."
        lake.save()

        assert find(paths, "lake of bank").text.endswith("UTC: It answered 403 AccessDenied.")
        assert "retention keeps rows" in find(paths, "lake of bank").remedy

    @pytest.mark.slow
    def test_says_how_far_a_sink_is_behind_and_why(self, paths: HomePaths) -> None:
        project = Project.objects.create(slug="bank", name="Bank")
        sink = Sink.objects.create(project=project, settings={"brokers": ["kafka:9092"]})
        SinkStream.objects.create(sink=sink, kind="events")
        assert find(paths, "sink of bank") == Finding("sink of bank", "0 rows wait, the oldest for 0 s")

        event = record_event(project=project, kind="run.failed", subject="run-1", text="Failed.")
        FeedEvent.objects.filter(pk=event.pk).update(at=now() - timedelta(hours=1))
        late = find(paths, "sink of bank")
        assert "1 rows wait, the oldest for 3,6" in late.text
        assert "No process sends it" in late.remedy
        Sink.objects.update(sender=uuid4(), sender_until=now() + timedelta(hours=1))
        assert "the log of manage.py consume" in find(paths, "sink of bank").remedy

        Sink.objects.update(failing_since=now(), error="The brokers do not answer.")
        assert find(paths, "sink of bank").text.endswith("UTC: The brokers do not answer.")

    def test_names_what_needs_packages_that_are_missing_and_the_command_that_adds_them(
        self, paths: HomePaths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide(monkeypatch, KAFKA)
        make_source(make_model(Project.objects.create(slug="bank", name="Bank")), "scores")

        assert find(paths, "extra kafka") == Finding(
            "extra kafka",
            "not installed, and needed by source bank/scores",
            "Run make extra ADD=kafka, and restart Driftline.",
        )

    @pytest.mark.slow
    def test_says_how_far_a_receiver_of_the_audit_trail_is_behind_and_why(
        self, paths: HomePaths, settings: Any
    ) -> None:
        settings.AUDIT_SYSLOG, subject = "tcp://127.0.0.1:9", "audit trail to syslog"
        assert find(paths, subject) == Finding(subject, "0 entries wait, the oldest for 0 s")

        AuditEntry.objects.create(actor="ada", action="rule.update", at=now() - timedelta(hours=1))
        assert "1 entries wait, the oldest for 3,6" in find(paths, subject).text
        assert "manage.py consume" in find(paths, subject).remedy

        AuditExport.objects.create(receiver="syslog", failing_since=now(), error="Connection refused")
        assert find(paths, subject).text.endswith("UTC: Connection refused")

    def test_names_the_supervisor_that_runs_the_home(self, paths: HomePaths) -> None:
        with own(paths, Owner(os.getpid(), "http://here", now().isoformat())):
            finding = find(paths, "supervisor")

        assert f"process {os.getpid()} serves http://here" in finding.text

    def test_warns_of_a_home_that_other_users_can_reach(self, paths: HomePaths) -> None:
        paths.home.chmod(0o755)

        finding = find(paths, "home")

        assert "(mode 0755)" in finding.text
        assert finding.remedy.startswith(f"Run chmod 700 {paths.home}")

    def test_warns_of_a_database_of_a_later_release(self, paths: HomePaths) -> None:
        MigrationRecorder(connection).record_applied("inference", "9999_later")

        finding = find(paths, "migrations")

        assert "such as inference.9999_later" in finding.text
        assert finding.remedy.startswith("Install that release")

    def test_names_the_command_for_a_database_of_the_release_before(self, paths: HomePaths) -> None:
        [*_, newest] = sorted(
            name for app, name in MigrationLoader(None).graph.leaf_nodes() if app == "monitors"
        )
        MigrationRecorder(connection).record_unapplied("monitors", newest)

        finding = find(paths, "migrations")

        assert (finding.text, finding.remedy) == ("1 to apply", "Run manage.py upgrade.")

    @pytest.mark.skipif(
        bool(os.environ.get("DRIFTLINE_DATABASE_URL")), reason="only the embedded server's log is archived"
    )
    def test_asks_for_a_restart_where_the_log_is_to_be_archived_and_is_not(
        self, paths: HomePaths, settings: Any
    ) -> None:
        settings.WAL_ARCHIVE = paths.home / "archive"

        finding = find(paths, "log archive")

        assert "the server runs without it" in finding.text
        assert finding.remedy == "Restart the installation with this setting."

    def test_warns_of_a_home_that_is_missing(self, tmp_path: Path) -> None:
        finding = find(HomePaths(tmp_path / "nowhere"), "home")

        assert "DRIFTLINE_HOME" in finding.remedy

    def test_warns_of_a_serving_host_that_is_away(self, paths: HomePaths) -> None:
        ServingHost.objects.create(
            name="serving-2", token_digest="a", last_seen_at=now() - timedelta(minutes=5)
        )
        ServingHost.objects.create(name="serving-3", token_digest="b", last_seen_at=now(), generation=7)

        away, well = find(paths, "serving host serving-2"), find(paths, "serving host serving-3")

        assert away.text.startswith("away since")
        assert "serving_host revoke serving-2" in away.remedy
        assert (well.text, well.remedy) == ("serves plan 7", "")

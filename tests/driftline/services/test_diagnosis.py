"""What the doctor finds on the services of this session, which run and are set to forget for speed's sake."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from driftline.common.clock import now
from driftline.models import Heartbeat
from driftline.services.diagnosis import Finding, diagnose
from driftline.services.ownership import Owner, own
from driftline.services.paths import HomePaths
from tests.embedded import make_home

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

    def test_is_patient_with_a_worker_that_has_just_been_started(self, paths: HomePaths) -> None:
        with own(paths, Owner(os.getpid(), "http://here", now().isoformat())):
            finding = find(paths, "worker")

        assert finding.is_fine

    def test_names_the_supervisor_that_runs_the_home(self, paths: HomePaths) -> None:
        with own(paths, Owner(os.getpid(), "http://here", now().isoformat())):
            finding = find(paths, "supervisor")

        assert f"process {os.getpid()} serves http://here" in finding.text

    def test_warns_of_a_home_that_other_users_can_reach(self, paths: HomePaths) -> None:
        paths.home.chmod(0o755)

        finding = find(paths, "home")

        assert "(mode 0755)" in finding.text
        assert finding.remedy.startswith(f"Run chmod 700 {paths.home}")

    def test_warns_of_a_home_that_is_missing(self, tmp_path: Path) -> None:
        finding = find(HomePaths(tmp_path / "nowhere"), "home")

        assert "DRIFTLINE_HOME" in finding.remedy

"""A version's page says how each serving process has it, and what its shadow dropped."""

from pathlib import Path

from driftline.web.pages.models.versions.version_in_processes import shadow_drops, version_in_processes
from inference.registry.models import Model, Version
from inference.serving.counts.metrics import ServingMetrics
from tests.driftline.web.pages.serving_status import busy, report
from tests.worlds.approvals import DAY, log, rows_of_a_day


class TestAVersionInTheProcesses:
    def told(self, version: Version, home: Path, **more: object) -> tuple[str, str]:
        report(home, ServingMetrics(), **more)
        [one] = version_in_processes(version, home)
        return one.status, one.words

    def test_is_in_memory_or_not_or_cannot_be_loaded(self, model: Model, home: Path) -> None:
        log(model, rows_of_a_day(DAY, 1))
        version = model.versions.get()
        runs = {str(version.pk): {"asked": "cuda", "used": "cpu", "fallback": "no device"}}

        assert self.told(version, home)[1].startswith("Not in memory")
        assert self.told(version, home, executions=runs) == (
            "warning",
            "In memory, on cpu, not on cuda: no device",
        )
        assert self.told(version, home, failed_versions={str(version.pk): "too old"}) == (
            "critical",
            "too old",
        )

    def test_in_the_shadow_tells_why_its_copies_pause(self, model: Model, home: Path) -> None:
        log(model, rows_of_a_day(DAY, 1))
        version = model.versions.get()
        runs = {str(version.pk): {"asked": "cpu", "used": "cpu"}}
        shadow = {
            "model_id": model.pk,
            "version": "1",
            "circuit": "open",
            "queued_rows": 0,
            "last_failure": "timeout: slow",
        }

        status, words = self.told(version, home, executions=runs, shadows=[shadow])

        assert (status, words) == (
            "warning",
            "Its copies pause because most of the last ones failed: timeout: slow",
        )


def test_what_a_shadow_dropped_is_counted_by_reason(model: Model, home: Path) -> None:
    report(home, busy(model))

    assert shadow_drops(model, "2", home) == {"queue_full": 3}
    assert shadow_drops(model, "1", home) == {}

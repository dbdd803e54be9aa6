"""An optimisation from the button to the table, and a variant from the table to a version."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from driftline.base.work.lease import LEASE
from inference.registry.models import Version
from inference.registry.versions import external_version
from inference.runtime.session import OnnxSession
from inference.runtime.variants.kinds import KINDS
from monitors.optimiser import files
from monitors.optimiser.models import Optimisation, Variant
from monitors.optimiser.selectors import get_variant, optimisation_of, progress_of, variants_of
from monitors.optimiser.services import register_variant, request_optimisation
from monitors.optimiser.work import resume_optimisation
from tests.worlds.stumps import BUSY, IDLE, give_reference, log, make_version

pytestmark = pytest.mark.slow

Only = Callable[..., None]


def optimised(version: Version) -> Optimisation:
    optimisation = request_optimisation(version=version, actor="ada")
    resume_optimisation(optimisation.pk)
    optimisation.refresh_from_db()
    return optimisation


def stored(version: Version, kind: str, status: str, reason: str, *, path: str = "") -> Variant:
    """A row of the first generation's table."""
    return Variant.objects.create(
        version=version, kind=kind, generation=1, status=status, reason=reason, path=path, machine="m"
    )


class TestTheTable:
    def test_has_a_row_of_each_kind_with_its_verdict_in_the_order_of_the_kinds(
        self, project: Project, only: Only
    ) -> None:
        only("trees_25", "int8_static", "optimised")
        version = make_version(project, IDLE)
        log(version, IDLE)

        optimisation = optimised(version)

        assert optimisation.state == "done"
        statuses = {variant.kind: variant.status for variant in variants_of(version)}
        assert list(statuses) == ["optimised", "int8_static", "trees_25"]
        assert statuses["optimised"] in ("no_gain", "refused", "gain")  # as other processes take turns
        assert (statuses["int8_static"], statuses["trees_25"]) == ("not_applicable", "gain")
        assert progress_of(optimisation) == 3 / len(KINDS)

    def test_keeps_the_bytes_of_what_gains_with_the_machine_that_measured(
        self, project: Project, home: Path, only: Only
    ) -> None:
        only("trees_25")
        version = make_version(project, IDLE)
        log(version, IDLE)

        optimised(version)

        variant = get_variant(version=version, kind="trees_25")
        assert variant.status == "gain", variant.reason
        assert (home / variant.path).stat().st_size == variant.size < version.size / 2
        assert "ONNX Runtime" in variant.machine
        assert variant.measured["quality"]["mae"]["difference"] == 0
        assert variant.measured["labelled"] == 160

    def test_refuses_what_loses_quality_for_that_cause_and_keeps_no_file(
        self, project: Project, home: Path, only: Only
    ) -> None:
        only("trees_50")
        version = make_version(project, BUSY)
        give_reference(version, BUSY)

        optimised(version)

        variant = get_variant(version=version, kind="trees_50")
        assert variant.status == "refused"
        assert "mae 3" in variant.reason
        assert "worse than the margin" in variant.reason
        assert not (home / "variants").exists()

    def test_says_where_there_are_no_labels_to_judge_by(self, project: Project, only: Only) -> None:
        only("trees_50")
        version = make_version(project, BUSY)

        optimised(version)

        variant = get_variant(version=version, kind="trees_50")
        assert variant.status == "refused"
        assert "There are no labels to judge by, and its numbers differ by 3 on average" in variant.reason


class TestAsking:
    def test_again_while_it_is_under_way_changes_nothing(self, project: Project) -> None:
        version = make_version(project, BUSY)
        first = request_optimisation(version=version, actor="ada")

        second = request_optimisation(version=version, actor="bob")

        assert (second.pk, second.generation, second.requested_by) == (first.pk, 1, "ada")
        assert AuditEntry.objects.filter(action="version.optimise").count() == 1

    def test_again_afterwards_measures_anew(self, project: Project, only: Only) -> None:
        only("trees_50")
        version = make_version(project, BUSY)
        Optimisation.objects.create(version=version, state="done", requested_by="bob")
        stored(version, "trees_50", "gain", "Measured before.")

        again = optimised(version)

        assert (again.generation, again.state, again.requested_by) == (2, "done", "ada")
        variant = get_variant(version=version, kind="trees_50")
        assert (variant.generation, variant.status) == (2, "refused")

    def test_again_afterwards_leaves_no_file_of_before(
        self, project: Project, home: Path, only: Only
    ) -> None:
        only("trees_50")
        version = make_version(project, BUSY)
        Optimisation.objects.create(version=version, state="done", requested_by="bob")
        path = files.keep(b"a variant of before")
        stored(version, "trees_50", "gain", "Measured before.", path=path)

        optimised(version)

        assert not (home / path).exists()

    def test_for_an_external_version_is_refused(self, project: Project) -> None:
        model = make_version(project, BUSY).model

        with pytest.raises(Problem, match="upload its ONNX to optimise it here"):
            request_optimisation(version=external_version(model=model, version="theirs"), actor="ada")


class TestWorkers:
    def test_go_on_where_one_that_was_killed_left_off(self, project: Project, only: Only) -> None:
        only("optimised", "trees_50")
        version = make_version(project, BUSY)
        optimisation = request_optimisation(version=version, actor="ada")
        stored(version, "optimised", "no_gain", "Measured before.")
        Optimisation.objects.update(
            state="running", lease_token=1, lease_until=timezone.now() - timedelta(seconds=1)
        )

        resume_optimisation(optimisation.pk)

        assert get_variant(version=version, kind="optimised").reason == "Measured before."
        assert get_variant(version=version, kind="trees_50").generation == 1
        assert optimisation_of(version).state == "done"  # type: ignore[union-attr]

    def test_leave_alone_what_another_one_holds(self, project: Project) -> None:
        version = make_version(project, BUSY)
        optimisation = request_optimisation(version=version, actor="ada")
        Optimisation.objects.update(state="running", lease_token=1, lease_until=timezone.now() + LEASE)

        resume_optimisation(optimisation.pk)

        assert variants_of(version) == []

    def test_say_that_the_file_is_gone(self, project: Project, home: Path) -> None:
        version = make_version(project, BUSY)
        (home / version.path).unlink()

        optimisation = optimised(version)

        assert (optimisation.state, optimisation.error) == (
            "failed",
            "The version's file is gone; restore it and ask again.",
        )


class TestRegistering:
    def test_makes_a_version_that_passed_the_intake_and_knows_its_parent(
        self, project: Project, home: Path, only: Only
    ) -> None:
        only("trees_25")
        version = make_version(project, IDLE)
        log(version, IDLE)
        optimised(version)
        gain = get_variant(version=version, kind="trees_25")

        made, is_new = register_variant(variant=gain, actor="ada")

        assert is_new
        assert (made.version, made.sha256, made.signature) == ("2", gain.sha256, version.signature)
        assert made.intake_report is not None
        assert made.lineage["parent"] == "1"
        assert made.lineage["parameters"] == {"variant": "trees_25"}
        assert OnnxSession((home / made.path).read_bytes()).output_names == ["sum"]
        gain.refresh_from_db()
        assert gain.registered == made
        assert register_variant(variant=gain, actor="ada") == (made, False)

    def test_of_a_file_that_is_gone_says_what_to_do(self, project: Project) -> None:
        variant = stored(
            make_version(project, IDLE), "trees_25", "gain", "Smaller.", path="variants/gone.onnx"
        )

        with pytest.raises(Problem, match="is gone; optimise the version again") as refused:
            register_variant(variant=variant, actor="ada")

        assert (refused.value.status, refused.value.code) == (410, "variant_lost")

    def test_of_what_was_refused_repeats_the_cause(self, project: Project) -> None:
        variant = stored(make_version(project, IDLE), "fp16", "refused", "It is slower.")

        with pytest.raises(Problem, match="cannot become a version") as refused:
            register_variant(variant=variant, actor="ada")

        assert (refused.value.status, refused.value.code) == (409, "variant_refused")
        assert refused.value.detail.endswith("It is slower.")

"""The optimiser's table over HTTP: asked for, read, and a row of it made a version."""

from pathlib import Path
from typing import Any

import pytest

from inference.registry.models import Version
from monitors.optimiser.models import Variant
from monitors.optimiser.work import resume_optimisation
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.monitors.optimiser.conftest import only  # noqa: F401  used by name
from tests.worlds.stumps import IDLE, log, make_version

VARIANTS = "/models/stumps/versions/1/variants"


@pytest.fixture
def version(api: Api, tmp_path: Path, settings: Any) -> Version:
    settings.HOME = tmp_path
    return make_version(api.project, IDLE)


@pytest.mark.slow
def test_a_version_is_optimised_and_a_gain_becomes_a_version(api: Api, version: Version, only: Any) -> None:  # noqa: F811
    only("trees_25", "fp16")
    log(version, IDLE)

    asked = api.post(VARIANTS)
    resume_optimisation(version.optimisation.pk)
    listed = api.get(VARIANTS).json()
    registered = api.post(f"{VARIANTS}/trees_25/register")

    assert (asked.status_code, asked.json()["state"], asked.json()["progress"]) == (202, "queued", 0)
    assert listed["optimisation"]["state"] == "done"
    assert [(row["kind"], row["status"]) for row in listed["items"]] == [
        ("fp16", "not_applicable"),
        ("trees_25", "gain"),
    ]
    gain = listed["items"][1]
    assert gain["size"] < gain["original_size"] == version.size
    assert [timing["rows"] for timing in gain["measured"]["timings"]] == [1, 64]
    assert (registered.status_code, registered.json()["sha256"]) == (201, gain["sha256"])
    assert registered.json()["lineage"]["parent"] == "1"
    assert api.get(VARIANTS).json()["items"][1]["registered_as"] == "2"
    assert api.post(f"{VARIANTS}/trees_25/register").status_code == 200


def test_nobody_has_asked_yet(api: Api, version: Version) -> None:
    assert api.get(VARIANTS).json() == {"items": [], "next": None, "optimisation": None}


def test_a_kind_that_was_not_measured_is_not_found(api: Api, version: Version) -> None:
    assert_problem(api.post(f"{VARIANTS}/trees_25/register"), 404, "variant_not_found")


def test_what_was_refused_is_not_registered(api: Api, version: Version) -> None:
    Variant.objects.create(
        version=version, kind="fp16", generation=1, status="refused", reason="It is slower.", machine="m"
    )

    assert_problem(api.post(f"{VARIANTS}/fp16/register"), 409, "variant_refused")

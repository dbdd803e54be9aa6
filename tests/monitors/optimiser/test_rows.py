"""Where the rows of a comparison come from."""

from io import BytesIO

import numpy as np
import pytest

from driftline.base.accounts.models import Project
from inference.registry.lineage import Lineage
from inference.registry.models import Version
from inference.registry.services import create_model, update_model
from inference.registry.versions import upload_version
from monitors.optimiser.evaluation_set import MIN_LABELLED
from monitors.optimiser.sampling import trial_rows
from tests.inference.runtime.variants.small_models import convolutions
from tests.worlds.stumps import BUSY, give_reference, log, make_version, truth


@pytest.fixture
def version(project: Project) -> Version:
    return make_version(project, BUSY)


def test_ripe_labelled_rows_come_first_and_the_reference_calibrates(version: Version) -> None:
    give_reference(version, BUSY)
    log(version, BUSY)

    rows = trial_rows(version)

    assert rows.asked.source == "ripe rows of the log, up to 6 Jan 2026"
    assert rows.asked.labelled == len(rows.asked) == 200
    expected = [truth(float(x), BUSY) for x in rows.asked.feed["X"][:, 0]]
    assert rows.asked.y == pytest.approx(expected, abs=1e-4)
    assert (len(rows.calibration), rows.calibration_is_made_up) == (300, False)


def test_without_a_reference_rows_to_calibrate_on_are_not_asked(version: Version) -> None:
    log(version, BUSY)

    rows = trial_rows(version)

    assert (len(rows.calibration), len(rows.asked)) == (40, 160)
    assert rows.calibration.source == rows.asked.source


def test_a_labelled_reference_goes_before_rows_without_labels(version: Version) -> None:
    give_reference(version, BUSY)
    log(version, BUSY, labelled=False)

    rows = trial_rows(version)

    assert rows.asked.source == "rows of the reference"
    assert rows.asked.labelled == len(rows.asked) == 240


def test_too_few_labels_leave_agreement_alone(version: Version) -> None:
    log(version, BUSY, rows=MIN_LABELLED - 1)

    rows = trial_rows(version)

    assert rows.asked.source.startswith("ripe rows of the log")
    assert 0 < rows.asked.labelled < MIN_LABELLED


def test_rows_of_which_the_log_holds_hashes_or_nothing_are_not_asked(version: Version) -> None:
    log(version, BUSY)
    update_model(model=version.model, actor="test", privacy={"x": "drop"})

    assert trial_rows(version).asked.source == "made-up rows: no real ones are kept"


def test_without_any_rows_they_are_made_up(version: Version) -> None:
    rows = trial_rows(version)

    assert rows.calibration_is_made_up
    assert rows.asked.labelled == 0
    assert rows.asked.feed["X"].shape == (256, 1)
    assert rows.asked.feed["X"].dtype == np.float32


def test_pictures_are_made_up_in_the_shape_that_the_model_takes(project: Project) -> None:
    model = create_model(project=project, name="pictures", task="multiclass", actor="test")
    version, _ = upload_version(
        model=model,
        stream=BytesIO(convolutions()),
        metadata=b'{"classes": ["a", "b", "c"]}',
        lineage=Lineage(),
        actor="test",
    )

    rows = trial_rows(version)

    assert rows.calibration_is_made_up
    assert rows.asked.feed["X"].shape == (256, 1, 8, 8)

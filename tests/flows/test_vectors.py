"""A vector among the features: logged, kept as few numbers, compared as one feature, judged by rules, or not kept."""

from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.periods import to_us
from inference.image_names import image_parts
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.spool.record import LoggedBatch, encode_record
from inference.prediction_log.spool.segments import SpoolWriter
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.selectors import signature_of
from inference.registry.services import create_model, update_model
from inference.registry.versions import upload_version
from inference.serving.plan import PlanModel
from inference.serving.versions.versions import LoadedVersion
from inference.vector_names import part_names
from inference.vectors import describe_vectors
from monitors.definitions.choosing import ReferenceChoice, choose_reference
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.segments import declare_segment, remove_segment, set_segments
from monitors.metrics.selectors import drift_rows, longer_points
from monitors.metrics.store.models import MetricPoint
from monitors.rules.services import create_rule
from tests.inference.onnx_models import embedding_model, store
from tests.worlds.approvals import DAY, log, make_model, send, work
from tests.worlds.vectors import DIMENSION, give_reference, rows_with_vectors

pytestmark = pytest.mark.slow

NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture
def model(project: Project) -> Model:
    model = make_model(project)
    give_reference(model)
    return model


def points(model: Model, day: datetime = DAY) -> dict[tuple[str, str], MetricPoint]:
    found = MetricPoint.objects.filter(model=model, span="day", start=day, version="", segment="")
    return {(point.metric, point.feature): point for point in found}


class TestLoggedVectors:
    def test_are_kept_as_what_the_kernel_makes_of_them(self, model: Model) -> None:
        rows = rows_with_vectors(DAY, 30)
        log(model, rows)

        frame = frame_of(model=model, start=DAY, end=NEXT_DAY)

        expected = describe_vectors("photo", np.array([row.features["photo"] for row in rows]))
        assert set(frame.features) == {"income", *expected}
        for name, values in expected.items():
            np.testing.assert_array_equal(frame.features[name], values)

    def test_of_another_dimension_are_refused_alone_with_what_to_do(self, model: Model) -> None:
        good, bad = rows_with_vectors(DAY, 2)
        bad.features["photo"] = [1.0] * 64

        result = send(model, [good, bad])

        assert (result.accepted, result.rejected) == (1, 1)
        error = result.results[1].error
        assert error is not None
        assert (error.code, error.pointer) == ("wrong_dimension", "/predictions/1/features/photo")
        assert "have 48 numbers, and this one has 64" in error.detail

    def test_of_a_new_version_have_the_dimension_that_came_first(self, model: Model) -> None:
        first, second = (replace(row, version="2") for row in rows_with_vectors(DAY, 2))
        first.features["photo"] = [1.0] * 64
        log(model, [first])

        result = send(model, [second])

        assert result.rejected == 1

    def test_stand_in_no_feature_that_the_version_declares_a_number(self, model: Model) -> None:
        [row] = rows_with_vectors(DAY, 1)
        row.features["income"] = [1.0, 2.0]

        error = send(model, [row]).results[0].error

        assert error is not None
        assert (error.code, error.detail) == (
            "wrong_type",
            "Feature 'income' is a list; use a number or null.",
        )

    def test_are_no_vectors_and_numbers_by_one_name(self, model: Model) -> None:
        vector, number = (replace(row, version="2") for row in rows_with_vectors(DAY, 2))
        later = replace(number, id="later", features={"income": 1.0, "photo": 5.0})
        number.features["photo"] = 5.0

        together, alone = send(model, [number, vector]), send(model, [later])

        assert [result.status for result in together.results] == ["rejected", "accepted"]
        for error in (together.results[0].error, alone.results[0].error):
            assert error is not None
            assert (error.code, error.pointer) == ("wrong_type", "/predictions/0/features/photo")
            assert "is a vector; send a list of numbers or null" in error.detail

    def test_take_no_name_that_numbers_have_in_the_log(self, model: Model) -> None:
        first, vector, later = (
            replace(row, version="2", features={"income": 1.0}) for row in rows_with_vectors(DAY, 3)
        )
        vector.features["income"] = [1.0, 2.0]
        log(model, [first])

        wrong, right = send(model, [vector]), send(model, [later])

        error = wrong.results[0].error
        assert error is not None
        assert (error.code, error.pointer) == ("wrong_type", "/predictions/0/features/income")
        assert "is a number or a text" in error.detail
        assert right.accepted == 1

    def test_take_no_name_that_few_of_the_newest_rows_have_for_texts(self, model: Model) -> None:
        rows = [replace(row, version="2", features={"income": 1.0}) for row in rows_with_vectors(DAY, 6)]
        rows[0].features["home"] = "rent"
        for row in rows:
            log(model, [row])
        vector, later = (
            replace(row, id=f"later {number}", version="2", features={"home": home})
            for number, (row, home) in enumerate(
                zip(rows_with_vectors(NEXT_DAY, 2), ([1.0, 2.0], "own"), strict=True)
            )
        )

        wrong, right = send(model, [vector]), send(model, [later])

        assert [result.results[0].status for result in (wrong, right)] == ["rejected", "accepted"]

    def test_take_no_name_that_more_items_of_a_request_have_for_texts(self, model: Model) -> None:
        rows = [replace(row, version="2", features={"home": "rent"}) for row in rows_with_vectors(DAY, 3)]
        rows[0].features["home"] = [1.0, 2.0]

        result = send(model, rows)

        assert [one.status for one in result.results] == ["rejected", "accepted", "accepted"]

    def test_may_be_missing(self, model: Model) -> None:
        rows = rows_with_vectors(DAY, 300)
        for row in rows[:60]:
            row.features["photo"] = None
        log(model, rows)

        work(model)

        assert points(model)["missing_share", "photo"].value == pytest.approx(0.2)


class TestReferences:
    def test_of_another_dimension_than_the_versions_vectors_are_refused(self, model: Model) -> None:
        with pytest.raises(Problem, match="have 48 numbers, and those of the file 50"):
            give_reference(model, dimension=50)


class TestDrift:
    def test_of_a_quiet_day_is_one_feature_within_its_limits(self, model: Model) -> None:
        log(model, rows_with_vectors(DAY, 400))

        work(model)

        found = points(model)
        assert {feature for metric, feature in found if metric == "psi"} == {"income", "photo"}
        assert found["psi", "photo"].status == "ok"
        assert found["mean_shift", "photo"].status == "ok"
        assert found["drifted_features", ""].value == 0

    def test_of_shifted_vectors_counts_once_and_names_what_stands_out(self, model: Model) -> None:
        log(model, rows_with_vectors(DAY, 400, shift=0.6))

        work(model)

        found = points(model)
        assert found["psi", "photo"].status in ("warning", "critical")
        assert found["psi", "photo"].detail["column"] in part_names("photo", DIMENSION)
        assert found["mean_shift", "photo"].value == pytest.approx(0.6, rel=0.4)
        assert found["mean_shift", "photo"].status in ("warning", "critical")
        assert found["drifted_features", ""].value == 1

    def test_fires_a_rule_over_the_vector_which_is_its_cause(self, project: Project, model: Model) -> None:
        rule = create_rule(
            project=project,
            model=model,
            actor="test",
            name="photos",
            metric="psi",
            feature="photo",
            threshold=0.2,
        )
        log(model, rows_with_vectors(DAY, 400, shift=1.0))
        work(model)

        log(model, rows_with_vectors(NEXT_DAY, 400))
        work(model)

        opened = rule.transitions.get(kind="opened")
        assert opened.detail["causes"][0]["feature"] == "photo"

    def test_of_a_rule_over_a_number_of_the_vector_is_refused(self, project: Project, model: Model) -> None:
        with pytest.raises(Problem, match="none of the features"):
            create_rule(
                project=project, model=model, actor="test", name="one", metric="psi", feature="photo.norm",
                threshold=0.2,
            )  # fmt: skip

    def test_of_too_few_rows_is_not_judged(self, model: Model) -> None:
        log(model, rows_with_vectors(DAY, 5))

        work(model)

        assert points(model)["psi", "photo"].status == "insufficient"

    def test_is_told_for_any_period_and_for_weeks(self, model: Model) -> None:
        log(model, rows_with_vectors(DAY, 400, shift=0.6))
        work(model)

        rows = drift_rows(model=model, start=DAY, end=NEXT_DAY)["items"]
        week = longer_points(
            model=model, metric="psi", start=DAY, end=DAY + timedelta(days=7), step="week", feature="photo"
        )

        assert {row["feature"]: row["decision"] for row in rows}["photo"] == "drifted"
        assert [point.status for point in week] == ["critical"]


class TestPrivacy:
    @pytest.mark.parametrize("policy", ["drop", "hash"])
    def test_leaves_nothing_of_a_vector_that_may_not_be_kept(self, project: Project, policy: str) -> None:
        model = make_model(project, "private")
        update_model(model=model, actor="test", privacy={"photo": policy})

        log(model, rows_with_vectors(DAY, 20))

        assert set(frame_of(model=model, start=DAY, end=NEXT_DAY).features) == {"income"}

    def test_counts_for_the_numbers_of_a_vector_wherever_its_rows_would_be_read(self, model: Model) -> None:
        log(model, rows_with_vectors(DAY, 40))
        work(model)
        condition = [{"feature": "photo.norm", "lower": 1.0}]
        segment = declare_segment(model=model, name="long", conditions=condition, actor="test")
        with pytest.raises(Problem, match=r"The segment 'long' needs the values of 'photo\.norm'") as refused:
            update_model(model=model, actor="test", privacy={"photo": "summary"})
        assert refused.value.errors[0].pointer == "/privacy/photo"
        remove_segment(segment=segment, actor="test")
        update_model(model=model, actor="test", privacy={"photo": "summary"})

        with pytest.raises(Problem, match="is dropped once it is summarised"):
            declare_segment(model=model, name="long", conditions=condition, actor="test")
        with pytest.raises(Problem, match="dropped once they are summarised"):
            set_segments(model=model, features=["photo.norm"], actor="test")
        with pytest.raises(Problem, match="is dropped once it is summarised"):
            define_metric(model=model, name="length", expression="mean(feature('photo.norm'))", actor="test")

    def test_keeps_a_vector_in_summaries_alone(self, model: Model) -> None:
        update_model(model=model, actor="test", privacy={"photo": "summary"})
        log(model, rows_with_vectors(DAY, 400))

        work(model)

        frame = frame_of(model=model, start=DAY, end=NEXT_DAY)
        assert all(np.isnan(frame.features[name]).all() for name in part_names("photo", DIMENSION))
        assert points(model)["psi", "photo"].n == 400


class TestServedImages:
    """An ONNX model of images with an embedding, both as its upload says: the spool brings what is measured of them."""

    @pytest.fixture
    def version(self, project: Project, home: Path) -> Version:
        model = create_model(
            project=project, name="images", task="regression", actor="test", objectives={"label_lag_hours": 0}
        )
        version, _ = upload_version(
            model=model,
            stream=BytesIO(embedding_model()),
            metadata=b'{"outputs": {"prediction": "sum", "embedding": "embedding"}, "image": {"layout": "NCHW"}}',
            lineage=Lineage(),
            actor="test",
        )
        return version

    def serve(self, version: Version, home: Path, day: datetime, *, brightness: float = 1.0) -> None:
        """Answer 300 images of a day, log them as serving does, and bring them into the log."""
        stored = store(home, embedding_model(), signature_of(version), id=version.pk, version=version.version)
        loaded = LoadedVersion(home, PlanModel(version.model_id, 1, "images", 1, "1", [], [stored]), stored)
        rng = np.random.default_rng(day.toordinal())
        images = {"X": (brightness * rng.random((300, 3, 4, 4))).astype(np.float32)}
        outcome = loaded.run(images)
        times = [to_us(day) + 60_000_000 * place for place in range(300)]
        logged = LoggedBatch(
            model_id=version.model_id, version_id=version.pk, role="champion", generation=1,
            ids=[f"{day:%d}-{place}" for place in range(300)], client_ids=None, keyed=False,
            event_time_us=times, received_us=times[0], latency_us=[900] * 300,
            features=loaded.features(images, outcome.outputs), prediction=outcome.prediction,
            probabilities=None, subjects=None, tags=None,
        )  # fmt: skip
        SpoolWriter(home, f"serving-{day:%d}").append([encode_record(logged)], sync=False)
        drain_once(home)
        work(version.model)

    def test_are_compared_with_a_part_of_the_log(self, version: Version, home: Path) -> None:
        model = version.model
        for back in range(14, -1, -1):
            self.serve(version, home, DAY - timedelta(days=back))
        choice = ReferenceChoice("period", start=DAY - timedelta(days=14), end=DAY)
        choose_reference(model=model, version=version, choice=choice, actor="test")

        self.serve(version, home, NEXT_DAY, brightness=0.7)

        assert points(model)["psi", "embedding"].status == "ok"
        darker = points(model, NEXT_DAY)
        assert darker["psi", "embedding"].status in ("warning", "critical")
        assert darker["mean_shift", "embedding"].value > 0.3
        assert darker["psi", "X.brightness"].status == "critical"
        assert darker["psi", "X.sharpness"].status == "critical"
        assert points(model)["psi", "X.brightness"].status == "ok"
        assert {feature for _, feature in darker} <= {"", "embedding", "prediction", *image_parts("X")}

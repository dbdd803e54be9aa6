"""From a fitted model to a version, against the real API."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import driftline_client
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from driftline_client import DriftlineError
from inference.registry.models import Model, Version
from inference.runtime.session import load_session

pytestmark = pytest.mark.django_db(transaction=True)

FRAME = pd.DataFrame(np.random.default_rng(5).normal(size=(300, 2)), columns=["delay", "wind"])
LATE = np.where(FRAME.delay + FRAME.wind > 0, "late", "on time")


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def push(live_server: Any, home: Path) -> Any:
    """Push as a caller who may create models."""
    project = Project.objects.create(slug="airport", name="Airport")
    _, token = create_token(project=project, name="notebook", scopes=list(Scope), actor="test")

    def pushed(name: str, *arguments: Any, **options: Any) -> Any:
        return driftline_client.push(name, *arguments, url=live_server.url, token=token, **options)

    return pushed


class TestPush:
    @pytest.mark.slow
    def test_makes_a_version_that_answers_as_the_model_does(self, push: Any, home: Path) -> None:
        model = LogisticRegression().fit(FRAME, LATE)

        pushed = push("flights", model, FRAME, task="binary", positive_class="late")

        version = Version.objects.get()
        assert (pushed.model, pushed.version, pushed.sha256) == ("flights", "1", version.sha256)
        assert pushed.is_new
        assert [feature["name"] for feature in version.signature["features"]] == ["delay", "wind"]
        assert version.signature["classes"] == ["late", "on time"]
        assert version.signature["positive_class"] == "late"
        session = load_session(home / version.path, version.sha256)
        answers = session.run({"X": FRAME.to_numpy(np.float32)}, ["probabilities"])[0]
        assert np.allclose(answers, model.predict_proba(FRAME), atol=1e-5)

    @pytest.mark.slow
    def test_keeps_what_it_knows_of_the_models_making(self, push: Any) -> None:
        model = LinearRegression().fit(FRAME, FRAME.delay * 3)
        push("minutes", model, FRAME, task="regression")

        push(
            "minutes",
            LinearRegression().fit(FRAME, FRAME.wind),
            FRAME,
            version="build-9",
            lineage={"parent": "1", "trigger": "nightly", "parameters": {"fit_intercept": True}},
        )

        lineage = Version.objects.get(version="build-9").lineage
        assert lineage["trainer"] == "sklearn.linear_model._base.LinearRegression"
        assert (lineage["parent"], lineage["trigger"]) == ("1", "nightly")
        assert lineage["libraries"].keys() >= {"scikit-learn", "skl2onnx"}
        assert lineage["parity"]["share_differing_given"] == 0
        assert lineage["parity"]["rows"] == 600

    @pytest.mark.slow
    def test_the_same_model_again_is_the_same_version(self, push: Any) -> None:
        model = LogisticRegression().fit(FRAME, LATE)
        push("flights", model, FRAME, task="binary")

        again = push("flights", model, FRAME)

        assert (again.version, again.is_new) == ("1", False)

    def test_a_model_that_is_not_there_is_said(self, push: Any) -> None:
        with pytest.raises(DriftlineError, match="give its task") as caught:
            push("flights", LogisticRegression().fit(FRAME, LATE), FRAME)

        assert caught.value.status == 404
        assert not Model.objects.exists()

    @pytest.mark.slow
    def test_a_refusal_of_the_intake_is_passed_on(self, push: Any) -> None:
        three = np.where(FRAME.delay > 1, "very late", LATE)

        with pytest.raises(DriftlineError, match="3 classes") as caught:
            push("flights", LogisticRegression().fit(FRAME, three), FRAME, task="binary")

        assert caught.value.status == 422
        assert not Version.objects.exists()


def test_without_a_token_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLINE_TOKEN", raising=False)

    with pytest.raises(DriftlineError, match="DRIFTLINE_TOKEN"):
        driftline_client.push("flights", LogisticRegression().fit(FRAME, LATE), FRAME)

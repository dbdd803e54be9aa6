"""Models of other frameworks, each pushed from an environment of its own that `.ci/frameworks` makes."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Version
from inference.runtime.session import load_session

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = Path(os.environ.get("DRIFTLINE_FRAMEWORKS", "/nonexistent"))

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not ENVIRONMENTS.is_dir(), reason="`make e2e-frameworks` makes the environments and says where"
    ),
]


@pytest.mark.parametrize("framework", ["xgboost", "pytorch", "keras"])
def test_a_pushed_model_answers_as_in_its_own_framework(
    framework: str, live_server: Any, settings: Any, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    project = Project.objects.create(slug="airport", name="Airport")
    _, token = create_token(project=project, name="notebook", scopes=list(Scope), actor="test")

    program = [ENVIRONMENTS / framework / "bin/python", ROOT / "tests/frameworks/pushes.py"]
    done = subprocess.run(
        [*program, framework, live_server.url, token, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT / "platform"), "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    version = Version.objects.get()
    signature = version.signature
    kept = np.load(tmp_path / "answers.npz")
    session = load_session(tmp_path / version.path, version.sha256)
    answers = session.run(
        {signature["inputs"][0]["name"]: kept["rows"]}, [signature["probabilities_output"]]
    )[0]
    assert np.allclose(answers, kept["answers"], atol=1e-5)
    assert [feature["name"] for feature in signature["features"]] == ["f0", "f1", "f2", "f3"]
    assert version.lineage["parity"]["rows"] > 600

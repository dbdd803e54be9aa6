"""`manage.py import_models`: from another server's folder to answers."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Model
from tests.inference.onnx_models import constant_classifier, constant_number, summing_model
from tests.inference.registry.importers.folders import FRAUD_CONFIG, write
from tests.inference.serving.running import rows_body, running_server


@pytest.fixture
def project(db: None, settings: Any, tmp_path: Path) -> Project:
    settings.HOME = tmp_path / "home"
    return Project.objects.create(slug="ours", name="Ours")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Triton's repository with a model that sums, one of probabilities without names, and a program."""
    folder = tmp_path / "models"
    write(folder / "fraud/config.pbtxt", FRAUD_CONFIG)
    write(folder / "fraud/3/model.onnx", summing_model(3))
    write(folder / "tokenizer/config.pbtxt", 'backend: "python"')
    return folder


class Import:
    """Runs the command; `said` is what it printed, `error` the sentence that it ended with."""

    def __init__(self, folder: Path, *options: str) -> None:
        out, self.error = StringIO(), ""
        try:
            call_command("import_models", str(folder), "--project", "ours", *options, stdout=out)
        except CommandError as error:
            self.error = str(error)
        self.said = " ".join(out.getvalue().split())


class TestImport:
    def test_brings_a_model_in_and_says_what_did_not_come(self, project: Project, folder: Path) -> None:
        told = Import(folder)

        model = Model.objects.get()
        version = model.versions.get()
        assert (model.name, model.task, model.deployment.champion) == ("fraud", "regression", version)
        assert version.lineage["parameters"] == {"server": "triton", "platform": "onnxruntime"}
        assert "registered version 3 as champion task regression" in told.said
        assert "came along dynamic_batching requests that wait are joined" in told.said
        assert "did not instance_group DRIFTLINE_WEB_WORKERS" in told.said
        assert "did not the python model it is a program" in told.said
        assert "1 of 2 models here: 1 versions registered, 0 known already." in told.said
        assert told.error == "1 of 2 models did not come along; see above."

    def test_answers_as_onnx_runtime_does(
        self,
        project: Project,
        folder: Path,
        django_capture_on_commit_callbacks: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        rows = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)
        theirs = ort.InferenceSession(folder / "fraud/3/model.onnx").run(None, {"X": rows})[0]

        with django_capture_on_commit_callbacks(execute=True):
            Import(folder, "--only", "fraud")
            _, token = create_token(project=project, name="app", scopes=["infer"], actor="ada")
        with running_server(tmp_path / "home") as server:
            ours = server.ask("/v2/models/fraud/versions/3/infer", rows_body(*rows.tolist()), token=token)

        assert np.array_equal(np.array(ours.json["outputs"][0]["data"], np.float32), theirs.ravel())

    def test_done_again_doubles_nothing(self, project: Project, folder: Path) -> None:
        Import(folder, "--only", "fraud")
        write(folder / "fraud/4/model.onnx", constant_number(5, 3))

        again = Import(folder, "--only", "fraud")

        assert sorted(Model.objects.get().versions.values_list("version", flat=True)) == ["3", "4"]
        assert "registered version 4 task regression" in again.said
        assert "known already version 3 (champion)" in again.said

    def test_tells_the_same_without_doing_it(self, project: Project, folder: Path) -> None:
        told = Import(folder, "--dry-run")

        assert "to register version 3 as champion task regression" in told.said
        assert "1 of 2 models would be here: 1 versions would be registered" in told.said
        assert not Model.objects.exists()

    def test_tells_without_doing_it_what_is_here_already(self, project: Project, folder: Path) -> None:
        Import(folder, "--only", "fraud")

        told = Import(folder, "--only", "fraud", "--dry-run")

        assert "known already version 3 (champion)" in told.said
        assert "0 versions would be registered, 1 known already" in told.said

    def test_prints_nothing_that_a_terminal_would_obey(self, project: Project, folder: Path) -> None:
        write(folder / "tokenizer/config.pbtxt", 'backend: "\\033]0;owned\\007"')

        told = Import(folder, "--only", "tokenizer")

        assert "owned" in told.said
        assert told.said.isprintable()

    def test_gives_labels_to_versions_and_leaves_those_that_were_moved(
        self, project: Project, tmp_path: Path
    ) -> None:
        folder = tmp_path / "models"
        labels = "version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
        config = f"name: 'sums' base_path: '/sums' model_version_policy {{ all {{ }} }} {labels}"
        write(folder / "models.config", f"model_config_list {{ config {{ {config} }} }}")
        write(folder / "sums/1/model.onnx", summing_model(2))
        write(folder / "sums/2/model.onnx", constant_number(5, 2))
        Import(folder)
        model = Model.objects.get()
        model.aliases.filter(name="stable").update(version=model.versions.get(version="2"))

        again = Import(folder)

        assert dict(model.aliases.values_list("name", "version__version")) == {"stable": "2", "canary": "2"}
        assert "did not label stable here it points at version sums 2; move it by hand" in again.said

    def test_keeps_what_is_there_under_the_name(self, project: Project, folder: Path) -> None:
        Import(folder, "--only", "fraud")
        write(folder / "fraud/3/model.onnx", constant_number(5, 3))

        told = Import(folder, "--only", "fraud")

        assert "did not version 3 Version 3 exists and holds something else" in told.said
        assert Model.objects.get().versions.count() == 1

    def test_leaves_no_model_where_no_version_passes(self, project: Project, tmp_path: Path) -> None:
        write(tmp_path / "models/fraud/1/model.onnx", b"no model")

        told = Import(tmp_path / "models")

        assert "did not version 1 The file is not an ONNX model" in told.said
        assert not Model.objects.exists()

    def test_says_where_the_file_is_not_as_described(self, project: Project, folder: Path) -> None:
        write(
            folder / "fraud/config.pbtxt",
            'input { name: "X" data_type: TYPE_FP64 dims: [ -1, 4 ] } output { name: "y" }',
        )

        told = Import(folder, "--only", "fraud", "--dry-run")

        assert "input X of version 3 described as FP64, and the ONNX has FP32" in told.said
        assert "output y of version 3 the ONNX has no such tensor; it has sum" in told.said


class TestTask:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A classifier whose graph names no classes."""
        write(tmp_path / "models/coins/1/model.onnx", constant_classifier(0.25, 2))
        return tmp_path / "models"

    def test_is_asked_for_where_nothing_tells_it(self, project: Project, folder: Path) -> None:
        told = Import(folder)

        assert "did not the task its outputs do not tell; add --task" in told.said
        assert not Model.objects.exists()

    def test_is_told_with_the_classes(self, project: Project, folder: Path) -> None:
        Import(folder, "--task", "binary", "--classes", "heads, tails", "--name", "coin")

        model = Model.objects.get()
        assert (model.name, model.task) == ("coin", "binary")
        assert (model.versions.get().signature or {})["classes"] == ["heads", "tails"]

    def test_follows_from_the_file_of_labels(self, project: Project, folder: Path) -> None:
        write(folder / "coins/labels.txt", "heads\ntails\n")
        write(folder / "coins/config.pbtxt", 'output { name: "probabilities" label_filename: "labels.txt" }')

        Import(folder)

        assert Model.objects.get().task == "binary"


class TestFolder:
    def test_of_several_servers_needs_a_word(self, project: Project, folder: Path) -> None:
        write(folder / "logged/MLmodel", "flavors: {onnx: {}}")

        told = Import(folder)

        assert "could be of triton or mlflow; say --from" in told.error

    def test_of_none_is_refused(self, project: Project, tmp_path: Path) -> None:
        assert "has no file of any of these servers" in Import(tmp_path).error
        assert "is no folder" in Import(tmp_path / "gone").error
        assert "holds no model as mlflow keeps them" in Import(tmp_path, "--from", "mlflow").error

    def test_with_a_name_that_no_model_can_have_asks_for_another(
        self, project: Project, folder: Path
    ) -> None:
        write(folder / "fraud/config.pbtxt", 'name: "../fraud"')

        told = Import(folder, "--only", "../fraud")

        assert "is not a model name" in told.said
        assert "--name" in told.said

    def test_is_for_a_project_that_exists(self, project: Project, folder: Path) -> None:
        with pytest.raises(CommandError, match="the projects are: ours"):
            call_command("import_models", str(folder), "--project", "theirs")

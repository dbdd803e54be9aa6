"""What the plan file tells the serving processes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import transaction
from django.utils import timezone

from driftline.base.accounts.models import Isolation, Project, digest_of
from driftline.base.accounts.services import create_token, note_isolation, revoke_token
from inference.registry.lineage import Lineage
from inference.registry.models import Model, UnpublishedChange
from inference.registry.plan.publishing import publish_model, publish_overdue
from inference.registry.services import create_model, update_model
from inference.registry.versions import Contents, external_version, register, update_version
from inference.serving.plan import Plan, changes_path, load_plan
from tests.inference.onnx_models import summing_signature

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(settings: Any, tmp_path: Path) -> Project:
    settings.HOME = tmp_path
    return Project.objects.create(slug="bank", name="Bank")


def plan(settings: Any) -> Plan:
    return load_plan(settings.HOME / "plan.json")


def test_a_token_is_in_the_plan_until_it_is_revoked(project: Project, settings: Any) -> None:
    token, text = create_token(project=project, name="app", scopes=["infer"], actor="test")
    assert [known.digest for known in plan(settings).tokens] == [digest_of(text)]

    revoke_token(token=token, actor="test", now=timezone.now())

    assert plan(settings).tokens == []


def test_an_external_champion_answers_elsewhere_so_here_nobody_does(project: Project, settings: Any) -> None:
    model = create_model(project=project, name="approvals", task="binary", actor="test")

    external_version(model=model, version="1")

    [published] = plan(settings).models
    assert published.champion is None
    assert model.deployment.__class__.objects.get(model=model).champion is not None


def test_each_change_is_a_new_generation(project: Project, settings: Any) -> None:
    create_model(project=project, name="first", task="binary", actor="test")
    before = plan(settings).generation

    create_model(project=project, name="second", task="binary", actor="test")

    assert plan(settings).generation > before


@pytest.mark.slow
def test_a_new_model_is_written_by_itself_however_many_there_are(project: Project, settings: Any) -> None:
    create_token(project=project, name="app", scopes=["infer"], actor="test")
    path = settings.HOME / "plan.json"
    whole = path.read_bytes()

    for number in range(40):
        create_model(project=project, name=f"model-{number}", task="binary", actor="test")

    assert path.read_bytes() == whole
    lines = changes_path(path).read_bytes().splitlines()
    assert len(lines) == 40
    assert max(map(len, lines)) < min(map(len, lines)) + 50
    assert [model.name for model in plan(settings).models] == [f"model-{number}" for number in range(40)]


def test_a_model_that_is_deleted_is_served_no_more(project: Project, settings: Any) -> None:
    model = create_model(project=project, name="approvals", task="binary", actor="test")
    key = model.pk

    Model.objects.filter(pk=key).delete()
    publish_model(key)

    assert plan(settings).models == []


def test_what_changes_of_a_version_is_in_the_plan_also_where_the_version_was_before(
    project: Project, settings: Any
) -> None:
    model = create_model(project=project, name="approvals", task="binary", actor="test")
    contents = Contents(
        identity={
            "sha256": "ab" * 32,
            "signature": msgspec.to_builtins(summing_signature(2)),
            "execution_provider": "cpu",
        },
        details={"path": "models/sum.onnx"},
        audited={},
    )
    version, _ = register(model=model, name=None, contents=contents, lineage=Lineage(), actor="test")
    [before] = plan(settings).models[0].versions

    update_version(version=version, actor="test", execution_provider="cuda")

    [after] = plan(settings).models[0].versions
    assert (before.execution_provider, after.execution_provider) == ("cpu", "cuda")
    assert before.signature == after.signature == summing_signature(2)


class TestIsolation:
    def test_is_none_for_the_first_project_and_process_for_the_others(self, project: Project) -> None:
        second = Project.objects.create(slug="shop", name="Shop")
        chosen = Project.objects.create(slug="lab", name="Lab", isolation=Isolation.NONE)

        assert [one.isolation for one in (project, second, chosen)] == ["none", "process", "none"]

    def test_of_a_project_reaches_its_versions_at_once(self, project: Project, settings: Any) -> None:
        model = create_model(project=project, name="approvals", task="binary", actor="test")
        contents = Contents(
            identity={"sha256": "ab" * 32, "signature": msgspec.to_builtins(summing_signature(2))},
            details={"path": "models/sum.onnx"},
            audited={},
        )
        register(model=model, name=None, contents=contents, lineage=Lineage(), actor="test")
        [before] = plan(settings).models[0].versions

        project.isolation = Isolation.PROCESS
        project.save()
        note_isolation(project=project, before="none", actor="ops@bank.example")

        [after] = plan(settings).models[0].versions
        assert (before.isolation, after.isolation) == ("none", "process")
        entry = project.audit.get(action="project.isolation")
        assert (entry.actor, entry.before, entry.after) == ("ops@bank.example", "none", "process")

    @pytest.mark.parametrize(
        ("report", "isolation"),
        [
            ({"value_costs": True, "ops": {"Expand": 1}}, "process"),
            ({"value_costs": False, "ops": {"Expand": 1}}, "none"),
            ({"ops": {"Expand": 1}}, "process"),  # of an intake that did not look at it
            ({"ops": {"TreeEnsembleClassifier": 1}}, "none"),
        ],
    )
    def test_is_a_process_for_a_model_whose_cost_its_values_decide(
        self, project: Project, settings: Any, report: dict[str, Any], isolation: str
    ) -> None:
        model = create_model(project=project, name="approvals", task="binary", actor="test")
        contents = Contents(
            identity={"sha256": "ab" * 32, "signature": msgspec.to_builtins(summing_signature(2))},
            details={"path": "models/sum.onnx", "intake_report": report},
            audited={},
        )
        register(model=model, name=None, contents=contents, lineage=Lineage(), actor="test")

        [version] = plan(settings).models[0].versions

        assert version.isolation == isolation

    def test_that_stays_is_neither_audited_nor_published(self, project: Project, settings: Any) -> None:
        create_model(project=project, name="approvals", task="binary", actor="test")
        before = plan(settings).generation

        note_isolation(project=project, before="none", actor="ops@bank.example")

        assert plan(settings).generation == before
        assert not project.audit.filter(action="project.isolation").exists()


class TestAWriterThatDiedBeforeItPublished:
    def test_is_made_up_for_within_seconds(self, project: Project, settings: Any) -> None:
        model = create_model(project=project, name="approvals", task="binary", actor="test")
        self.change_and_die(model)
        assert plan(settings).models[0].privacy == {}

        publish_overdue()

        assert plan(settings).models[0].privacy == {"income": "drop"}
        assert not UnpublishedChange.objects.exists()

    def test_is_not_published_twice(self, project: Project, settings: Any) -> None:
        self.change_and_die(create_model(project=project, name="approvals", task="binary", actor="test"))
        publish_overdue()
        published = plan(settings).generation

        publish_overdue()

        assert plan(settings).generation == published

    def change_and_die(self, model: Model) -> None:
        """Commit a change, and end before what follows the commit."""
        with transaction.atomic():
            update_model(model=model, actor="test", privacy={"income": "drop"})
            transaction.get_connection().run_on_commit.clear()
        UnpublishedChange.objects.update(at=timezone.now() - timedelta(minutes=1))


def test_a_change_that_is_published_is_not_overdue(project: Project, settings: Any) -> None:
    create_model(project=project, name="approvals", task="binary", actor="test")
    create_token(project=project, name="app", scopes=["infer"], actor="test")

    assert not UnpublishedChange.objects.exists()

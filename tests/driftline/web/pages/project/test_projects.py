"""Projects on pages: listed, made, renamed, archived and restored; an archived one is hidden and read only."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import AuditEntry, Invitation, Membership, Project, User
from driftline.base.accounts.quotas import set_quotas
from driftline.base.accounts.services import create_project, create_token
from driftline.operations.long_work import something_waits
from driftline.sign_in.invitations import link_of
from inference.edge.models import DeviceGroup, Release
from inference.registry.models import Model, Version
from inference.registry.plan.publishing import PLAN_FILE
from inference.registry.services import archive_model, create_model
from inference.serving.plan import load_plan
from monitors.workflows.leases import claim_run
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from monitors.workflows.models import Run
from monitors.workflows.pulls.models import Pull
from monitors.workflows.starting.starts import UnableToStart, check_start
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup

LIST = "/accounts/projects/"
PAGE = "/settings/project"


def archive(client: Client) -> Any:
    return client.post(PAGE, {"do": "archive"})


def begin_run(model: Model) -> Run:
    champion = Version.objects.create(model=model, version="1")
    return Run.objects.create(
        model=model, trigger="by hand", data_until=datetime(2026, 3, 1, tzinfo=UTC), champion=champion
    )


def begin_pull(model: Model) -> Pull:
    return Pull.objects.create(model=model, source="url", url="https://a.example/m.onnx", created_by="test")


def list_registry(model: Model, state: str = "waiting") -> RegistryImport:
    return RegistryImport.objects.create(
        project=model.project, url="https://mlflow.example", created_by="test", state=state
    )


def import_model(model: Model) -> ImportedModel:
    listed = list_registry(model, state="listed")
    return ImportedModel.objects.create(registry_import=listed, registered_model="churn", state="waiting")


def begin_release(model: Model) -> Release:
    group = DeviceGroup.objects.create(project=model.project, model=model, name="vans")
    version = Version.objects.create(model=model, version="1")
    return Release.objects.create(
        group=group, version=version, rings=[100], abort_share=0.2, created_by="test"
    )


def actions() -> list[str]:
    entries = AuditEntry.objects.filter(action__startswith="project.").order_by("pk")
    return list(entries.values_list("action", flat=True))


class TestList:
    def test_makes_a_project_that_its_maker_administers(self, client: Client) -> None:
        answer = client.post(LIST, {"name": "Card  fraud", "slug": ""})

        made = Project.objects.get(slug="card-fraud")
        assert answer["Location"] == "/p/card-fraud/settings/members"
        assert (made.name, made.memberships.get().role) == ("Card fraud", "admin")
        assert made.isolation == "process"
        assert "Card fraud" in markup(client.get(LIST))

    def test_gives_the_quotas_of_the_project_that_its_maker_came_from(
        self, client: Client, owner: User, project: Project
    ) -> None:
        set_quotas(project=project, actor="operator", max_models=5)
        User.objects.update(is_staff=False)

        client.post(LIST, {"name": "Bounded"})
        User.objects.update(is_staff=True)
        client.post(LIST, {"name": "Free"})

        made = dict(Project.objects.exclude(pk=project.pk).values_list("slug", "max_models"))
        assert made == {"bounded": 5, "free": None}

    @pytest.mark.parametrize(
        ("slug", "explained"),
        [
            ("bank", "There is a project with the address bank already"),
            ("a/b", "is no address; use up to 50"),
        ],
    )
    def test_refuses_an_address_with_a_sentence(self, client: Client, slug: str, explained: str) -> None:
        answer = client.post(LIST, {"name": "Fraud", "slug": slug})

        assert (answer.status_code, explained in markup(answer)) == (422, True)
        assert Project.objects.count() == 1

    def test_offers_nothing_to_make_to_who_administers_no_project(self, project: Project, db: None) -> None:
        viewer = viewer_of(project)

        refused = viewer.post(LIST, {"name": "Fraud"})

        assert "Make a project" not in markup(viewer.get(LIST))
        assert (refused.status_code, Project.objects.count()) == (403, 1)

    def test_counts_models_and_people(self, client: Client, project: Project, model: Model) -> None:
        viewer_of(project)
        create_model(project=project, name="second", task="binary", actor="test")
        old = create_model(project=project, name="old", task="binary", actor="test")
        archive_model(model=old, is_archived=True, actor="test")

        (one,) = client.get(LIST).context["open"]

        assert (one.models, one.people) == (2, 2)

    def test_has_the_persons_projects_alone(self, client: Client) -> None:
        create_project(slug="shop", name="Shop", owner=User.objects.create_user("eve@shop.example"))

        assert "Shop" not in markup(client.get(LIST))


class TestName:
    def test_changes_and_the_address_stays(self, client: Client, project: Project) -> None:
        client.post(PAGE, {"do": "rename", "name": "Big bank"})

        project = Project.objects.get(pk=project.pk)
        entry = AuditEntry.objects.get(action="project.rename")
        assert (project.name, project.slug) == ("Big bank", "bank")
        assert (entry.before, entry.after) == ({"name": "Bank"}, {"name": "Big bank"})


class TestQuotas:
    def test_of_storage_is_not_measured_before_its_turn(self, client: Client, project: Project) -> None:
        Project.objects.filter(pk=project.pk).update(max_bytes=1000)
        before = markup(client.get(PAGE))
        Project.objects.filter(pk=project.pk).update(stored_bytes=0)

        assert "not measured yet" in before
        assert "0 bytes of a quota of 1000 bytes" in " ".join(markup(client.get(PAGE)).split())


class TestArchiving:
    def test_asks_first(self, client: Client, model: Model) -> None:
        asked = markup(client.get(f"{PAGE}?do=archive"))

        assert "Archive Bank?" in asked
        assert "Its model answers no request." in asked
        assert Project.objects.get().archived_at is None

    def test_leaves_the_pages_to_read(self, client: Client, model: Model) -> None:
        archive(client)

        shown = markup(client.get(f"/models/{model.name}/settings"))
        refused = client.post("/settings/tokens", {"do": "create", "name": "t", "scopes": "read"})

        assert "The project Bank is archived since" in shown
        assert refused.status_code == 403
        assert "Bank is archived and read only" in markup(refused)
        assert "Make a token" not in markup(client.get("/settings/tokens"))
        assert client.get("/settings/audit").status_code == 200
        assert 'settings/audit"' in markup(client.get("/settings/members"))

    def test_says_to_its_admin_that_the_archive_is_why_nothing_is_made(
        self, client: Client, model: Model
    ) -> None:
        archive(client)

        for path in (
            "/models/new",
            "/settings/tokens",
            "/settings/members",
            f"/models/{model.name}/settings",
        ):
            shown = markup(client.get(path))
            assert "The project Bank is archived since" in shown
            assert "Only admins" not in shown
            assert "Only editors" not in shown

    def test_keeps_its_name(self, client: Client, project: Project) -> None:
        archive(client)

        shown = markup(client.get(PAGE))
        refused = client.post(PAGE, {"do": "rename", "name": "Big bank"})

        assert 'value="rename"' not in shown
        assert 'value="restore"' in shown
        assert (refused.status_code, "Bank is archived and read only" in markup(refused)) == (422, True)
        project.refresh_from_db()
        assert project.name == "Bank"

    def test_hides_it_from_the_list_of_projects_to_switch_to(self, client: Client, owner: User) -> None:
        create_project(slug="shop", name="Shop", owner=owner)
        archive(client)

        elsewhere = markup(client.get("/p/shop/models/"))

        assert "/p/bank/" not in elsewhere
        assert client.get("/models/").status_code == 200
        assert "Bank" in markup(client.get(LIST)).split("Archived")[1]

    def test_refuses_what_tokens_change_and_lets_them_read(
        self, client: Client, project: Project, model: Model
    ) -> None:
        _, token = create_token(project=project, name="t", scopes=Scope, actor="test")
        archive(client)
        headers = {"Authorization": f"Bearer {token}"}
        label = {"labels": [{"id": "p1", "label": "1"}]}

        path = f"/api/v1/models/{model.name}"
        refused = client.post(f"{path}/labels", label, content_type="application/json", headers=headers)
        read = client.get(path, headers=headers)

        assert (refused.status_code, refused.json()["code"]) == (403, "project_archived")
        assert (read.status_code, read.json()["archived_at"] is not None) == (200, True)

    def test_takes_its_models_out_of_serving_until_it_is_restored(
        self, client: Client, model: Model, home: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        def served() -> list[str]:
            return [one.name for one in load_plan(home / PLAN_FILE).models]

        with django_capture_on_commit_callbacks(execute=True):
            archive(client)
        while_archived = served()
        with django_capture_on_commit_callbacks(execute=True):
            client.post(PAGE, {"do": "restore"})

        assert (while_archived, served()) == ([], [model.name])
        assert actions() == ["project.create", "project.archive", "project.restore"]

    def test_brings_back_no_model_that_was_archived_before(
        self, client: Client, model: Model, project: Project
    ) -> None:
        old = create_model(project=project, name="old", task="binary", actor="test")
        archive_model(model=old, is_archived=True, actor="test")

        archive(client)
        client.post(PAGE, {"do": "restore"})

        assert list(project.models.listed().values_list("name", flat=True)) == [model.name]

    @pytest.mark.parametrize(
        ("begin", "named"),
        [
            (begin_run, "run {pk} of approvals"),
            (begin_release, "the release of"),
            (begin_pull, "the pull of https://a.example/m.onnx"),
            (list_registry, "the import of https://mlflow.example"),
            (import_model, "the import of churn"),
        ],
    )
    def test_waits_for_what_would_change_it_afterwards(
        self, client: Client, model: Model, begin: Any, named: str
    ) -> None:
        begun = begin(model)

        answer = markup(client.post(PAGE, {"do": "archive"}, follow=True))

        assert "Bank is still at work: " + named.format(pk=begun.pk) in answer
        assert Project.objects.get().archived_at is None
        assert "project.archive" not in actions()

    def test_has_work_that_slipped_through_stand_still_until_it_is_restored(
        self, client: Client, model: Model
    ) -> None:
        archive(client)
        begin_pull(model)
        run = begin_run(model)

        while_archived = something_waits(), claim_run(run.pk)
        client.post(PAGE, {"do": "restore"})

        assert while_archived == (False, None)
        assert something_waits()
        assert claim_run(run.pk) is not None

    def test_lets_nothing_start_a_run(self, client: Client, model: Model) -> None:
        archive(client)

        with pytest.raises(UnableToStart, match="approvals is archived; restore it before a run"):
            check_start(model)

    def test_is_for_admins(self, project: Project, db: None) -> None:
        viewer = viewer_of(project)

        assert archive(viewer).status_code == 403
        assert Project.objects.get(pk=project.pk).archived_at is None

    def test_ends_the_links_of_invitations_until_it_is_restored(self, client: Client) -> None:
        client.post("/settings/members", {"do": "invite", "email": "guest@shop.example", "role": "viewer"})
        path = "/" + link_of(Invitation.objects.get()).split("/", 3)[3]
        archive(client)
        answer = Client().get(path)

        assert answer.status_code == 410
        assert "The project Bank is archived; ask one of its admins to restore it." in markup(answer)
        assert Membership.objects.count() == 1

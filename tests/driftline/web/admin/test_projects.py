"""Projects in the admin: what an operator changes there takes effect, and is written down."""

import pytest
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import Membership, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.clock import now

pytestmark = pytest.mark.django_db


def test_an_operator_isolates_a_project_and_the_audit_says_so(operator: Client) -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    url = reverse("admin:accounts_project_change", args=[project.pk])

    answer = operator.post(url, {"slug": "bank", "name": "Bank", "isolation": "process"})

    assert answer.status_code == 302
    project.refresh_from_db()
    assert project.isolation == "process"
    entry = project.audit.get(action="project.isolation")
    assert (entry.actor, entry.before, entry.after) == ("operator@bank.example", "none", "process")


def test_a_project_that_an_operator_adds_has_the_default(operator: Client) -> None:
    Project.objects.create(slug="bank", name="Bank")

    answer = operator.post(
        reverse("admin:accounts_project_add"), {"slug": "shop", "name": "Shop", "isolation": ""}
    )

    assert answer.status_code == 302
    assert Project.objects.get(slug="shop").isolation == "process"


@pytest.mark.parametrize(
    "kind", ["accounts_project", "accounts_user", "accounts_membership", "monitors_monitor"]
)
def test_the_form_of_a_new_row_shows_nothing_that_the_database_sets(operator: Client, kind: str) -> None:
    page = operator.get(reverse(f"admin:{kind}_add"))

    assert page.status_code == 200
    assert "DatabaseDefault" not in page.content.decode()


def test_kinds_of_rows_have_the_plurals_of_english(operator: Client) -> None:
    page = operator.get(reverse("admin:index")).content.decode()

    assert "Event halves" in page
    assert "Segment searches" in page
    assert "API tokens" in page


def test_whoever_adds_a_project_may_open_it(operator: Client) -> None:
    form = {"slug": "shop", "name": "Shop", "isolation": ""}

    operator.post(reverse("admin:accounts_project_add"), form)

    opened = operator.get("/p/shop/settings/tokens")
    assert (opened.status_code, "<small>admin</small>" in opened.content.decode()) == (200, True)


def test_the_last_admin_of_a_project_is_neither_removed_nor_given_another_role(operator: Client) -> None:
    person = User.objects.get(email="operator@bank.example")
    membership = Membership.objects.get(project=create_project(slug="bank", name="Bank", owner=person))
    url = reverse("admin:accounts_membership_change", args=[membership.pk])

    form = operator.post(url, {"user": person.pk, "project": membership.project_id, "role": "viewer"})
    removed = operator.post(
        reverse("admin:accounts_membership_remove_one", args=[membership.pk]),
        {"confirmed": "yes"},
        follow=True,
    )

    assert "is the only admin of Bank" in form.content.decode()
    assert "is the only admin of Bank; make somebody else an admin first." in removed.content.decode()
    assert Membership.objects.get(pk=membership.pk).role == "admin"


def test_an_operator_archives_and_restores_a_project(operator: Client) -> None:
    project = Project.objects.create(slug="bank", name="Bank")

    operator.post(reverse("admin:accounts_project_archive_one", args=[project.pk]), {"confirmed": "yes"})
    project.refresh_from_db()
    is_archived = project.archived_at is not None
    operator.post(reverse("admin:accounts_project_restore_one", args=[project.pk]), {"confirmed": "yes"})

    project.refresh_from_db()
    assert (is_archived, project.archived_at) == (True, None)
    actions = project.audit.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["project.archive", "project.restore"]


@pytest.mark.parametrize("typed", [{"name": "Other"}, {"slug": "other"}, {"isolation": "process"}])
def test_an_archived_project_is_read_only_here_too(operator: Client, typed: dict[str, str]) -> None:
    project = Project.objects.create(slug="bank", name="Bank", isolation="none", archived_at=now())
    before = {"slug": "bank", "name": "Bank", "isolation": "none"}

    page = operator.post(reverse("admin:accounts_project_change", args=[project.pk]), before | typed)

    assert "The project Bank is archived and read only" in page.content.decode()
    assert Project.objects.values("slug", "name", "isolation").get() == before


def test_the_quotas_of_an_archived_project_can_be_changed(operator: Client) -> None:
    project = Project.objects.create(slug="bank", name="Bank", isolation="none", archived_at=now())
    form = {"slug": "bank", "name": "Bank", "isolation": "none", "max_models": "3"}

    operator.post(reverse("admin:accounts_project_change", args=[project.pk]), form)

    project.refresh_from_db()
    assert project.max_models == 3


def test_the_address_of_a_project_changes_once_that_was_asked(operator: Client) -> None:
    project = Project.objects.create(slug="bank", name="Bank", isolation="process")
    url = reverse("admin:accounts_project_change", args=[project.pk])
    typed = {"slug": "bank-of-ada", "name": "Bank", "isolation": "process"}

    question = operator.post(url, typed).content.decode()
    asked = Project.objects.get().slug
    operator.post(url, typed | {"confirmed": "yes"})

    assert "Links with /p/bank/ lead nowhere" in question
    assert 'name="slug" value="bank-of-ada"' in question
    assert (asked, Project.objects.get().slug) == ("bank", "bank-of-ada")


def test_a_form_that_is_wrong_comes_back_without_a_question(operator: Client) -> None:
    Project.objects.create(slug="shop", name="Shop")
    project = Project.objects.create(slug="bank", name="Bank")
    url = reverse("admin:accounts_project_change", args=[project.pk])

    page = operator.post(url, {"slug": "shop", "name": "Bank", "isolation": "none"})

    assert page.context["adminform"].form.errors["slug"]


def test_a_quota_of_0_is_none_as_on_the_command_line(operator: Client) -> None:
    project = Project.objects.create(
        slug="bank", name="Bank", max_models=3, max_rows_per_second=5, max_bytes=1000
    )
    url = reverse("admin:accounts_project_change", args=[project.pk])
    zeros = {"max_models": "0", "max_rows_per_second": "0", "max_bytes": "0"}

    operator.post(url, {"slug": "bank", "name": "Bank", "isolation": "process"} | zeros)

    project.refresh_from_db()
    assert (project.max_models, project.max_rows_per_second, project.max_bytes) == (None, None, None)

"""The admin deletes nothing that other rows refer to: Django would read all of them before it asks."""

import pytest
from django.contrib import admin
from django.db.models import Model as Row
from django.test import Client, RequestFactory
from django.urls import reverse

from driftline.base.accounts.models import Membership, Project, User

pytestmark = pytest.mark.django_db


def referring(model: type[Row]) -> set[str]:
    """Name the kinds of rows that refer to one of this kind."""
    fields = model._meta.get_fields(include_hidden=True)
    return {
        field.related_model._meta.label
        for field in fields
        if field.auto_created and not field.concrete and (field.one_to_one or field.one_to_many)
    }


def test_no_page_of_the_admin_deletes_what_other_rows_refer_to(
    person: User, subtests: pytest.Subtests
) -> None:
    request = RequestFactory().get("/admin/")
    request.user = person
    for kind, page in admin.site._registry.items():
        with subtests.test(kind._meta.label):
            is_offered = page.has_delete_permission(request) or "delete_selected" in page.get_actions(request)

            assert not is_offered or not referring(kind)


@pytest.mark.parametrize(
    ("kind", "instead"),
    [
        ("project", "Archive hides it and makes it read only"),
        ("user", "Switch Active off"),
        ("membership", "Remove takes a person out of a project"),
    ],
)
def test_who_comes_to_delete_is_told_what_to_do_instead(operator: Client, kind: str, instead: str) -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    person = User.objects.create_user("ada@bank.example")
    membership = Membership.objects.create(project=project, user=person, role="viewer")
    row = {"project": project, "user": person, "membership": membership}[kind]

    url = reverse(f"admin:accounts_{kind}_delete", args=[row.pk])
    page = operator.get(reverse(f"admin:accounts_{kind}_change", args=[row.pk])).content.decode()
    answers = [operator.get(url, follow=True), operator.post(url, {"post": "yes"}, follow=True)]

    assert url not in page
    assert [instead in answer.content.decode() for answer in answers] == [True, True]
    assert type(row).objects.filter(pk=row.pk).exists()

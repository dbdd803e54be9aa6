"""Members and invitations over the API."""

from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry, Invitation, Membership
from tests.driftline.api.conftest import Api, caller

pytestmark = pytest.mark.django_db


def invite(api: Api, role: str = "editor") -> Api:
    return api.post("/invitations", {"email": "guest@shop.example", "role": role})


class TestInvitations:
    def test_are_made_listed_sent_again_and_withdrawn(self, api: Api) -> None:
        made = invite(api)
        again = api.post(f"/invitations/{made.json()['id']}/resend").json()
        listed = api.get("/invitations").json()["items"]
        withdrawn = api.send("DELETE", f"/invitations/{made.json()['id']}")

        assert (made.status_code, withdrawn.status_code) == (201, 204)
        assert "/accounts/invitations/" in made.json()["link"]
        assert made.json()["link"] != again["link"]
        assert [(one["email"], one["role"], one["link"]) for one in listed] == [
            ("guest@shop.example", "editor", None)
        ]
        assert api.get("/invitations").json()["items"] == []
        entries = AuditEntry.objects.filter(action__startswith="invitation.").order_by("pk")
        assert [entry.action.split(".")[1] for entry in entries] == ["create", "resend", "withdraw"]

    def test_of_an_unknown_role_are_refused(self, api: Api) -> None:
        answer = invite(api, "owner")

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/role")

    def test_with_more_rights_than_the_token_has_are_refused(self, api: Api) -> None:
        narrow = caller("ours", "admin", "read")

        assert invite(narrow, "admin").status_code == 403
        assert invite(narrow, "viewer").status_code == 201

    def test_with_more_rights_than_the_token_has_are_not_sent_again(self, api: Api) -> None:
        path = f"/invitations/{invite(api, 'admin').json()['id']}/resend"

        refused = caller("ours", "admin", "read").post(path)

        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert "link" not in refused.json()
        assert Invitation.objects.get().generation == 1

    def test_of_an_address_that_is_too_long_are_refused(self, api: Api) -> None:
        address = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 15}.example"

        answer = api.post("/invitations", {"email": address, "role": "viewer"})

        assert answer.status_code == 422
        assert "invite one with at most 200" in answer.json()["detail"]

    def test_are_sent_once_a_minute(self, api: Api, settings: Any) -> None:
        settings.EMAIL_URL = "smtp://mail.example.com"
        path = f"/invitations/{invite(api).json()['id']}/resend"

        refused = api.post(path)

        assert (refused.status_code, refused.json()["code"]) == (429, "letter_too_soon")
        assert 1 <= int(refused["Retry-After"]) <= 60


class TestMembers:
    def test_get_another_role(self, api: Api) -> None:
        invite(api)
        one = api.get("/members").json()["items"][0]
        refused = api.send("PATCH", f"/members/{one['id']}", {"role": "viewer"})

        assert (one["email"], one["role"]) == ("owner@ours.example", "admin")
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")

    def test_of_another_project_are_not_found(self, api: Api) -> None:
        caller("theirs")
        theirs = Membership.objects.get(project__slug="theirs")
        invitation = invite(caller("theirs")).json()["id"]

        statuses = {
            api.send("PATCH", f"/members/{theirs.pk}", {"role": "viewer"}).status_code,
            api.send("DELETE", f"/members/{theirs.pk}").status_code,
            api.send("DELETE", f"/invitations/{invitation}").status_code,
            api.post(f"/invitations/{invitation}/resend").status_code,
        }

        assert statuses == {404}
        assert Invitation.objects.get(pk=invitation).withdrawn_at is None


class TestRoles:
    def test_are_made_given_changed_and_deleted(self, api: Api) -> None:
        made = api.post("/roles", {"name": "labeller", "scopes": ["label", "read"]})
        path = f"/roles/{made.json()['id']}"
        invitation = invite(api, "labeller")
        listed = api.get("/roles").json()["items"]
        changed = api.send("PATCH", path, {"scopes": ["read", "log"]})
        in_use = api.send("DELETE", path)
        api.send("DELETE", f"/invitations/{invitation.json()['id']}")
        deleted = api.send("DELETE", path)

        assert (made.status_code, made.json()["scopes"]) == (201, ["label", "read"])
        assert invitation.json()["role"] == "labeller"
        assert [(one["name"], one["members"], one["invitations"]) for one in listed] == [("labeller", 0, 1)]
        assert changed.json()["scopes"] == ["log", "read"]
        assert (in_use.status_code, in_use.json()["code"]) == (409, "role_in_use")
        assert "1 open invitation gives it" in in_use.json()["detail"]
        assert (deleted.status_code, api.get("/roles").json()["items"]) == (204, [])

    def test_get_no_scope_that_the_token_lacks(self, api: Api) -> None:
        narrow = caller("ours", "admin", "read")

        refused = narrow.post("/roles", {"name": "releaser", "scopes": ["read", "deploy"]})
        made = narrow.post("/roles", {"name": "reader", "scopes": ["read"]}).json()
        widened = narrow.send("PATCH", f"/roles/{made['id']}", {"scopes": ["read", "write"]})

        assert (refused.status_code, widened.status_code) == (403, 403)
        assert refused.json()["errors"][0]["code"] == "needs_scope_deploy"
        assert [one["scopes"] for one in api.get("/roles").json()["items"]] == [["read"]]

    def test_with_more_scopes_than_the_token_has_are_not_given(self, api: Api) -> None:
        api.post("/roles", {"name": "releaser", "scopes": ["read", "deploy"]})

        assert invite(caller("ours", "admin", "read"), "releaser").status_code == 403

    def test_of_another_project_are_not_found_or_given(self, api: Api) -> None:
        theirs = caller("theirs").post("/roles", {"name": "theirs", "scopes": ["read"]}).json()

        statuses = {
            api.send("PATCH", f"/roles/{theirs['id']}", {"scopes": ["read"]}).status_code,
            api.send("DELETE", f"/roles/{theirs['id']}").status_code,
        }

        assert (statuses, invite(api, "theirs").status_code) == ({404}, 422)
        assert api.get("/roles").json()["items"] == []


class TestTeams:
    def test_are_made_changed_and_deleted(self, api: Api) -> None:
        made = api.post("/teams", {"name": "risk", "members": ["Owner@ours.example"]})
        path = f"/teams/{made.json()['id']}"
        emptied = api.send("PATCH", path, {"members": []})

        assert (made.status_code, made.json()["members"]) == (201, ["owner@ours.example"])
        assert emptied.json()["members"] == []
        assert api.send("DELETE", path).status_code == 204
        assert api.get("/teams").json()["items"] == []

    def test_take_members_alone(self, api: Api) -> None:
        answer = api.post("/teams", {"name": "risk", "members": ["eve@shop.example"]})

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/members")
        assert "is no member of this project; invite them first" in answer.json()["detail"]

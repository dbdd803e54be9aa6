"""Members on pages: who they are, inviting, joining by a link, another role, and removal."""

import smtplib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.members import SEEN_NOTED_EVERY, note_seen
from driftline.base.accounts.models import AuditEntry, Invitation, Membership, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.sign_in import invitations
from driftline.sign_in.tasks import send_invitation_mail
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient

PAGE = "/settings/members"
GUEST = "guest@shop.example"
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def mail_server(settings: Any) -> None:
    """A mail server is set, and letters are kept where tests read them."""
    settings.EMAIL_URL = "smtp://mail.example.com"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


def invited(project: Project, role: Role = Role.EDITOR, email: str = GUEST) -> Invitation:
    return invitations.invite(
        project=project, email=email, role=role, scopes=set(Scope), actor="owner@bank.example", now=datetime.now(UTC)
    )  # fmt: skip


def path_of(invitation: Invitation) -> str:
    return "/" + invitations.link_of(invitation).split("/", 3)[3]


def signed_in(email: str) -> Client:
    client = PagesClient()
    client.force_login(User.objects.create_user(email))
    return client


def sentence(answer: Any) -> str:
    return markup(answer).split('class="verdict warning">')[1].split("<")[0]


def actions() -> list[str]:
    return list(
        AuditEntry.objects.exclude(action__startswith="sign_in")
        .order_by("pk")
        .values_list("action", flat=True)
    )


class TestList:
    def test_shows_role_and_when_a_member_was_seen(self, client: Client, project: Project) -> None:
        viewer_of(project)
        client.get("/models/")

        shown = markup(client.get(PAGE))

        owner, viewer = shown.split("<tbody>")[1].split("</tr>")[:2]
        assert ("admin" in owner, "never" in owner) == (True, False)
        assert ("viewer@bank.example" in viewer, "never" in viewer) == (True, True)

    def test_offers_a_viewer_nothing_to_change(self, project: Project, db: None) -> None:
        invited(project)

        shown = markup(viewer_of(project).get(PAGE))

        assert "Only admins of this project invite members" in shown
        assert GUEST not in shown
        assert "Remove…" not in shown

    def test_a_look_within_five_minutes_is_not_noted_again(
        self, owner: User, project: Project, db: None
    ) -> None:
        Membership.objects.update(last_seen_at=None)
        membership, start = Membership.objects.get(user=owner), datetime(2026, 3, 1, tzinfo=UTC)
        moments = [start, start + SEEN_NOTED_EVERY / 2, start + SEEN_NOTED_EVERY + timedelta(seconds=1)]

        seen = []
        for moment in moments:
            note_seen(membership, now=moment)
            membership.refresh_from_db()
            seen.append(membership.last_seen_at)

        assert seen == [start, start, moments[2]]


class TestInviting:
    def test_sends_a_link_by_mail_and_shows_none(
        self,
        client: Client,
        mail_server: None,
        mailoutbox: list[Any],
    ) -> None:
        answer = client.post(PAGE, {"do": "invite", "email": GUEST.upper(), "role": "editor"}, follow=True)
        invitation = Invitation.objects.get()
        send_invitation_mail(invitation_id=invitation.pk)
        send_invitation_mail(invitation_id=invitation.pk)

        assert "/accounts/invitations/" not in markup(answer)
        assert [(mail.to, mail.subject) for mail in mailoutbox] == [
            ([GUEST], "[Driftline] Invitation to Bank")
        ]
        assert invitations.link_of(invitation) in mailoutbox[0].body
        assert "sent" in markup(client.get(PAGE)).split(GUEST)[1]
        assert AuditEntry.objects.get(action="invitation.create").after == {"role": "editor"}

    def test_shows_the_link_once_where_no_mail_server_is_set(self, client: Client) -> None:
        shown = markup(client.post(PAGE, {"do": "invite", "email": GUEST, "role": "viewer"}))

        assert invitations.link_of(Invitation.objects.get()) in shown
        assert "pass this link on" in shown
        assert "/accounts/invitations/" not in markup(client.get(PAGE))

    def test_shows_the_link_after_the_mail_server_refused_the_letter(
        self, client: Client, mail_server: None, settings: Any, project: Project
    ) -> None:
        invitation = invited(project)
        settings.EMAIL_BACKEND = f"{__name__}.Refusing"
        send_invitation_mail(invitation_id=invitation.pk)
        listed = markup(client.get(PAGE))

        shown = markup(client.post(PAGE, {"do": "resend", "invitation": invitation.pk}))

        assert "550" in listed.split(GUEST)[1]
        assert "/accounts/invitations/" in shown

    @pytest.mark.parametrize(
        ("email", "explained"),
        [
            ("owner@bank.example", "owner@bank.example is a member already"),
            (GUEST, f"{GUEST} is invited already"),
            ("nobody", "Enter a valid email address"),
        ],
    )
    def test_refuses_with_a_sentence(
        self, client: Client, project: Project, email: str, explained: str
    ) -> None:
        invited(project)

        answer = client.post(PAGE, {"do": "invite", "email": email, "role": "viewer"})

        assert (answer.status_code, explained in markup(answer)) == (422, True)
        assert Invitation.objects.count() == 1

    def test_takes_an_address_of_at_most_200_characters(self, client: Client) -> None:
        address = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 15}.example"

        answer = client.post(PAGE, {"do": "invite", "email": address, "role": "viewer"})

        assert "invite one with at most 200" in markup(answer)
        assert not Invitation.objects.exists()

    def test_by_somebody_with_a_long_address_is_recorded(self, project: Project, db: None) -> None:
        admin = User.objects.create_user(f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 30}.example")
        Membership.objects.create(project=project, user=admin, role=Role.ADMIN)
        client = PagesClient()
        client.force_login(admin)

        client.post(PAGE, {"do": "invite", "email": GUEST, "role": "viewer"})

        assert Invitation.objects.get().created_by == admin.email[:200]

    def test_an_expired_one_makes_room_for_another(self, client: Client, project: Project) -> None:
        old = invited(project)
        Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(days=1))

        client.post(PAGE, {"do": "invite", "email": GUEST, "role": "viewer"})

        assert [one.pk for one in invitations.open_invitations(project)] != [old.pk]
        assert invitations.open_invitations(project).count() == 1


class Refusing:
    """A mail backend of a server that refuses every letter."""

    def __init__(self, **_: Any) -> None:
        pass

    def send_messages(self, _: Any) -> int:
        raise smtplib.SMTPResponseException(550, "no such mailbox")


class TestLetters:
    def test_of_a_project_are_200_a_day(
        self, db: None, mail_server: None, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(invitations, "MAX_LETTERS", 2)
        invited(project)
        invited(project, email="second@shop.example")

        with pytest.raises(Problem, match="has sent 2 invitations within a day") as refused:
            invited(project, email="third@shop.example")

        assert (refused.value.status, refused.value.retry_after) == (429, pytest.approx(86_400, abs=60))

    def test_to_an_address_come_once_a_minute_whoever_sends_them(
        self, db: None, mail_server: None, project: Project, owner: User
    ) -> None:
        shop = create_project(slug="shop", name="Shop", owner=owner)
        withdrawn = invited(project)
        invitations.withdraw(invitation=withdrawn, actor="test", now=datetime.now(UTC))

        for again in (project, shop):
            with pytest.raises(Problem, match="was sent a letter within the last minute"):
                invited(again)

    def test_that_got_lost_are_found_after_a_minute(
        self, db: None, mail_server: None, project: Project
    ) -> None:
        invitation = invited(project)
        asked = invitation.expires_at - invitations.VALID_FOR

        waiting = [
            [one.pk for one in invitations.waiting_letters(now=asked + timedelta(seconds=seconds))]
            for seconds in (59, 60)
        ]
        send_invitation_mail(invitation_id=invitation.pk)

        assert waiting == [[], [invitation.pk]]
        assert not invitations.waiting_letters(now=asked + timedelta(minutes=2)).exists()

    def test_that_a_newer_one_overtakes_leave_that_one_to_be_sent(
        self, db: None, mail_server: None, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invitation = invited(project)
        later = datetime.now(UTC) + timedelta(minutes=2)

        def send_slowly(*_: Any) -> None:
            invitations.send_again(invitation=invitation, scopes=set(Scope), actor="test", now=later)

        monkeypatch.setattr(invitations, "send_mail", send_slowly)
        send_invitation_mail(invitation_id=invitation.pk)

        invitation.refresh_from_db()
        assert (invitation.generation, invitation.sent_at) == (2, None)


class TestJoining:
    def test_makes_an_account_and_signs_in(self, project: Project, db: None) -> None:
        stranger, path = Client(), path_of(invited(project))
        looked = stranger.get(path)

        answer = stranger.post(path, {"name": "Grace", "password": PASSWORD})

        assert "invites" in markup(looked)
        assert (answer.status_code, answer["Location"]) == (302, "/p/bank/")
        assert stranger.get("/p/bank/settings/members").status_code == 200
        joined = Membership.objects.get(user__email=GUEST)
        assert (joined.role, joined.user.first_name) == ("editor", "Grace")
        assert joined.user.check_password(PASSWORD)
        assert ("user.create" in actions(), "member.join" in actions()) == (True, True)

    def test_takes_no_weak_password(self, project: Project, db: None) -> None:
        answer = Client().post(path_of(invited(project)), {"password": "short"})

        assert (answer.status_code, "too short" in markup(answer)) == (422, True)
        assert not User.objects.filter(email=GUEST).exists()

    def test_with_an_account_takes_a_button_and_happens_once(self, project: Project, db: None) -> None:
        path, guest = path_of(invited(project)), signed_in(GUEST)
        guest.get(path)
        before = Membership.objects.filter(user__email=GUEST).count()

        guest.post(path)
        again = guest.post(path)

        assert (before, Membership.objects.filter(user__email=GUEST).count()) == (0, 1)
        assert again.status_code == 410
        assert sentence(again) == "This invitation to Bank was used already, and you are a member."
        assert 'href="/p/bank/">Open Bank<' in markup(again)

    def test_that_was_used_says_nothing_more_to_a_stranger(self, project: Project, db: None) -> None:
        path, guest = path_of(invited(project)), signed_in(GUEST)
        guest.post(path)

        for stranger in (Client(), signed_in("eve@shop.example")):
            refused = stranger.get(path)
            assert (
                sentence(refused) == "This invitation to Bank was used already; sign in to open the project."
            )
            assert "/p/bank/" not in markup(refused)

    def test_leads_who_has_an_account_to_the_sign_in(self, project: Project, db: None) -> None:
        User.objects.create_user(GUEST)
        path = path_of(invited(project))

        shown = markup(Client().get(path))

        assert "/accounts/login/?next=/accounts/invitations/" in shown
        assert Client().post(path, {"password": PASSWORD}).status_code == 200
        assert not Membership.objects.filter(user__email=GUEST).exists()

    def test_is_for_the_invited_address_alone(self, project: Project, db: None) -> None:
        path, other = path_of(invited(project)), signed_in("other@shop.example")

        looked, pressed = other.get(path), other.post(path)

        assert (looked.status_code, pressed.status_code) == (403, 403)
        assert sentence(pressed).startswith(
            f"This invitation is for {GUEST}, and you are signed in as other@shop"
        )
        assert not Membership.objects.filter(user__email="other@shop.example").exists()

    def test_ends_with_a_newer_link_and_with_withdrawal(self, client: Client, project: Project) -> None:
        invitation = invited(project)
        first = path_of(invitation)
        client.post(PAGE, {"do": "resend", "invitation": invitation.pk})
        second = path_of(Invitation.objects.get())
        replaced, valid = Client().get(first), Client().get(second)
        client.post(PAGE, {"do": "withdraw", "invitation": invitation.pk})
        withdrawn = Client().post(second, {"password": PASSWORD})

        assert (replaced.status_code, valid.status_code, withdrawn.status_code) == (410, 200, 410)
        assert sentence(replaced) == f"A newer link to Bank was sent to {GUEST}; open that one."
        assert sentence(withdrawn) == "This invitation to Bank was withdrawn by an admin."

    def test_by_the_link_of_an_invitation_that_had_the_same_number_is_refused(
        self, project: Project, db: None
    ) -> None:
        lost = invited(project)
        path, number = path_of(lost), lost.pk
        lost.delete()
        Invitation.objects.create(
            pk=number, project=project, email="chief@bank.example", role=Role.ADMIN, created_by="test",
            expires_at=lost.expires_at,
        )  # fmt: skip

        answer = Client().post(path, {"password": PASSWORD})

        assert answer.status_code == 410
        assert sentence(answer).startswith("The invitation of this link is not kept any more")
        assert not User.objects.filter(email="chief@bank.example").exists()

    def test_with_an_account_that_was_made_just_now_leads_to_the_sign_in(
        self, project: Project, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = path_of(invited(project)).rstrip("/").rsplit("/", 1)[1]
        User.objects.create_user(GUEST)
        monkeypatch.setattr(invitations, "account_of", lambda _: None)  # it was not there at the look before

        with pytest.raises(Problem, match="has an account; sign in with it") as refused:
            invitations.accept_with_new_account(token, name="", password=PASSWORD, now=datetime.now(UTC))

        assert (refused.value.status, refused.value.code) == (409, "account_exists")

    def test_ends_after_a_week(self, project: Project, db: None) -> None:
        path = path_of(invited(project))
        Invitation.objects.update(expires_at=datetime(2026, 3, 1, tzinfo=UTC))

        answer = Client().post(path, {"password": PASSWORD})

        assert answer.status_code == 410
        assert sentence(answer) == (
            "This invitation to Bank expired on 1 Mar 2026; ask an admin to send it again."
        )

    def test_of_a_removed_project_and_of_a_changed_link_says_so(self, owner: User, db: None) -> None:
        shop = create_project(slug="shop", name="Shop", owner=owner)
        path = path_of(invited(shop))
        shop.delete()

        removed, changed = Client().get(path), Client().get(path[:-3] + "x/")

        assert (removed.status_code, changed.status_code) == (410, 404)
        assert sentence(removed) == "The project of this invitation was removed."
        assert sentence(changed) == "This is no link of an invitation; copy it whole from the letter."


class TestRoles:
    def test_are_changed_with_an_audit_row(self, client: Client, project: Project) -> None:
        viewer_of(project)
        one = Membership.objects.get(user__email="viewer@bank.example")

        client.post(f"{PAGE}/{one.pk}", {"role": "editor"})

        entry = AuditEntry.objects.get(action="member.role")
        one.refresh_from_db()
        assert one.role == "editor"
        assert (entry.subject, entry.before, entry.after) == (
            "viewer@bank.example", {"role": "viewer"}, {"role": "editor"},
        )  # fmt: skip

    def test_of_the_last_admin_stays(self, client: Client, owner: User) -> None:
        one = Membership.objects.get(user=owner)

        answer = client.post(f"{PAGE}/{one.pk}", {"role": "viewer"})
        removal = client.post(f"{PAGE}/{one.pk}/remove", follow=True)

        one.refresh_from_db()
        assert one.role == "admin"
        assert "is the only admin of Bank; make somebody else an admin first" in markup(answer)
        assert "is the only admin of Bank" in markup(removal)

    def test_an_admin_who_cannot_sign_in_does_not_count(
        self, client: Client, owner: User, project: Project
    ) -> None:
        off = User.objects.create_user("off@bank.example", is_active=False)
        Membership.objects.create(project=project, user=off, role=Role.ADMIN)

        client.post(f"{PAGE}/{Membership.objects.get(user=owner).pk}", {"role": "viewer"})

        assert Membership.objects.get(user=owner).role == "admin"


class TestRemoval:
    def test_asks_and_ends_access_at_once(self, client: Client, project: Project) -> None:
        viewer = viewer_of(project)
        one = Membership.objects.get(user__email="viewer@bank.example")
        before = viewer.get(PAGE).status_code
        asked = markup(client.get(f"{PAGE}/{one.pk}/remove"))

        client.post(f"{PAGE}/{one.pk}/remove")

        assert "Remove viewer@bank.example?" in asked
        assert "that this person made" not in asked  # there is no token to warn of
        assert (before, viewer.get(PAGE).status_code) == (200, 404)
        assert AuditEntry.objects.get(action="member.remove").before == {"role": "viewer"}

"""Invitations: an admin names an address and a role, and whoever reads its mail joins by a link, once.

A link is signed and names the invitation and its generation, so that a link sent again ends the one before. It names
the address and the moment too, because numbers of rows come again after the restore of a backup. Where no mail server
is set, or it refused the letter, the link is shown to who invites, to be passed on; only then, because otherwise the
letter proves that who joins reads the mail of that address.
"""

import smtplib
from collections.abc import Collection
from datetime import datetime, timedelta
from math import ceil

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.signing import BadSignature, Signer
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils.crypto import constant_time_compare, salted_hmac

from driftline.base.accounts.access.roles import check_role
from driftline.base.accounts.members import members_of
from driftline.base.accounts.models import AuditEntry, Invitation, Membership, Project, User
from driftline.base.accounts.services import MAX_NAME_CHARACTERS, record_audit
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.base.work.task_queue import Task, enqueue
from driftline.sign_in.single_sign_on.people import refuse_password

VALID_FOR = timedelta(days=7)
MAX_OPEN = 200
MAX_LETTERS = 200
"""Letters of invitations that a project sends within a day."""
LETTER_EVERY = timedelta(minutes=1)
"""To one address, from all projects together."""
_A_DAY = timedelta(days=1)
_LETTERS = ("invitation.create", "invitation.resend")
_SALT = "driftline.invitation"


def open_invitations(project: Project) -> QuerySet[Invitation]:
    """List the invitations of a project that nobody accepted or withdrew; some may have expired."""
    return Invitation.objects.filter(project=project, accepted_at=None, withdrawn_at=None).select_related(
        "project"
    )


def get_invitation(*, project: Project, invitation_id: int) -> Invitation:
    """Find an open invitation of a project; raises Problem 404."""
    invitation = open_invitations(project).filter(pk=invitation_id).first()
    if invitation is None:
        raise not_found("invitation")
    return invitation


# -- inviting ----------------------------------------------------------------------------------------------------------
def invite(
    *, project: Project, email: str, role: str, scopes: Collection[str], actor: str, now: datetime
) -> Invitation:
    """Invite an address with a role, and send the letter; `scopes` are those of who invites.

    Raises Problem 422 for what is no address or role, 403 for a role with more scopes, 409 for a member or an address
    that is invited already, and 429 where the address or the project has had its letters for now.
    """
    address = _address(email)
    with transaction.atomic():
        project = Project.objects.select_for_update().get(pk=project.pk)
        chosen = check_role(role, project=project, scopes=scopes, actor=actor)
        if members_of(project).filter(user__email__iexact=address).exists():
            raise Problem(
                409, "already_member", f"{address} is a member already; change the role in the list."
            )
        _make_room(project, address, now)
        _refuse_letter_too_many(project, address, now)
        invitation = Invitation.objects.create(
            project=project,
            email=address,
            role=chosen,
            created_by=actor[:MAX_NAME_CHARACTERS],
            expires_at=now + VALID_FOR,
        )
        _record(invitation, "invitation.create", actor, after={"role": chosen})
        _send_letter(invitation)
    return invitation


def send_again(*, invitation: Invitation, scopes: Collection[str], actor: str, now: datetime) -> Invitation:
    """Send a new link, valid for a week; the one before ends. `scopes` are those of who sends it.

    Raises Problem 403 for an invitation to a role with more scopes, and 429 as `invite` does.
    """
    with transaction.atomic():
        project = Project.objects.select_for_update().get(pk=invitation.project_id)
        invitation = _lock_open(invitation)
        check_role(invitation.role, project=project, scopes=scopes, actor=actor)
        _refuse_letter_too_many(project, invitation.email, now)
        invitation.generation += 1
        invitation.expires_at, invitation.sent_at = now + VALID_FOR, None
        invitation.save(update_fields=["generation", "expires_at", "sent_at"])
        _record(invitation, "invitation.resend", actor)
        _send_letter(invitation)
    return invitation


def withdraw(*, invitation: Invitation, actor: str, now: datetime) -> None:
    """End an invitation: its link lets nobody in any more."""
    with transaction.atomic():
        invitation = _lock_open(invitation)
        invitation.withdrawn_at = now
        invitation.save(update_fields=["withdrawn_at"])
        _record(invitation, "invitation.withdraw", actor, before={"role": invitation.role})


def link_to_pass_on(invitation: Invitation) -> str:
    """Return the link of an invitation that cannot be sent by mail; empty where it can."""
    return "" if settings.EMAIL_URL and not invitation.mail_error else link_of(invitation)


def link_of(invitation: Invitation) -> str:
    """Return the address by which the invited person joins."""
    token = Signer(salt=_SALT).sign(
        f"{invitation.pk}.{invitation.generation}.{_mark_of(invitation, settings.SECRET_KEY)}"
    )
    return f"{settings.PUBLIC_URL}/accounts/invitations/{token}/"


def _mark_of(invitation: Invitation, key: str | bytes) -> str:
    """Distinguish an invitation from another one that had its number before a backup was restored."""
    known_by = f"{invitation.email} {invitation.created_at.timestamp():.6f}"
    return salted_hmac(_SALT, known_by, secret=key, algorithm="sha256").hexdigest()[:32]


def _is_mark_of(mark: str, invitation: Invitation) -> bool:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(_mark_of(invitation, key), mark) for key in keys)


def waiting_letters(*, now: datetime) -> QuerySet[Invitation]:
    """Select the invitations that should have had their letter a minute ago."""
    waiting = Invitation.objects.filter(sent_at=None, mail_error="", accepted_at=None, withdrawn_at=None)
    if not settings.EMAIL_URL:
        return waiting.none()
    asked_for = {"expires_at__gt": now, "expires_at__lte": now + VALID_FOR - LETTER_EVERY}
    return waiting.filter(project__archived_at=None, **asked_for)


def send_invitation(invitation_id: int, *, now: datetime) -> None:
    """Send the letter of an invitation that waits for it, and note what came of it; one worker at a time does."""
    with session_lock(AdvisoryLock.INVITATION_LETTER, invitation_id) as is_alone:
        if is_alone:
            _send_waiting(invitation_id, now)


def _send_waiting(invitation_id: int, now: datetime) -> None:
    waiting = Invitation.objects.filter(
        pk=invitation_id, sent_at=None, accepted_at=None, withdrawn_at=None
    ).select_related("project")
    invitation = waiting.first()
    if invitation is None:
        return
    context = {
        "invitation": invitation, "link": link_of(invitation), "public_url": settings.PUBLIC_URL,
        "days": VALID_FOR.days,
    }  # fmt: skip
    text = render_to_string("account/email/invitation.txt", context)
    subject = f"[Driftline] Invitation to {' '.join(invitation.project.name.split())}"
    same_link = waiting.filter(generation=invitation.generation)  # a newer one has a letter of its own
    try:
        send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [invitation.email])
    except (smtplib.SMTPException, OSError) as error:
        same_link.update(mail_error=str(error)[:200] or type(error).__name__)
    else:
        same_link.update(sent_at=now, mail_error="")


def _send_letter(invitation: Invitation) -> None:
    if settings.EMAIL_URL:
        enqueue(Task.SEND_INVITATION, invitation_id=invitation.pk)


def _address(email: str) -> str:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError as error:
        raise invalid(
            "/email", f"{address[:64]!r} is not an e-mail address such as you@example.com."
        ) from error
    if len(address) > MAX_NAME_CHARACTERS:
        raise invalid(
            "/email",
            f"This address has {len(address)} characters; invite one with at most {MAX_NAME_CHARACTERS}.",
        )
    return address


def _refuse_letter_too_many(project: Project, address: str, now: datetime) -> None:
    """Raise Problem 429 where a letter to the address, or one more of the project, would come too soon."""
    if not settings.EMAIL_URL:
        return
    since = now + VALID_FOR - LETTER_EVERY
    newest = Invitation.objects.filter(email=address, mail_error="", expires_at__gt=since)
    if ends_at := newest.order_by("-expires_at").values_list("expires_at", flat=True).first():
        seconds = _seconds_until(ends_at - VALID_FOR + LETTER_EVERY, now)
        raise Problem(
            429,
            "letter_too_soon",
            f"{address} was sent a letter within the last minute; send the next one in {seconds} s.",
            retry_after=seconds,
        )
    sent = AuditEntry.objects.filter(project=project, action__in=_LETTERS, at__gt=now - _A_DAY)
    if sent.count() >= MAX_LETTERS:
        oldest = sent.order_by("-at").values_list("at", flat=True)[MAX_LETTERS - 1]
        raise Problem(
            429,
            "too_many_letters",
            f"This project has sent {MAX_LETTERS} invitations within a day; send the next one at "
            f"{oldest + _A_DAY:%-d %b %H:%M} UTC.",
            retry_after=_seconds_until(oldest + _A_DAY, now),
        )


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, ceil((moment - now).total_seconds()))


def _make_room(project: Project, address: str, now: datetime) -> None:
    """Withdraw an expired invitation of the address; refuse a second one, and one too many."""
    waiting = open_invitations(project)
    waiting.filter(email=address, expires_at__lte=now).update(withdrawn_at=now)
    if waiting.filter(email=address).exists():
        raise Problem(409, "already_invited", f"{address} is invited already; send it again or withdraw it.")
    if waiting.count() >= MAX_OPEN:
        raise Problem(
            409, "too_many_invitations", f"{MAX_OPEN} invitations are open; withdraw some before the next."
        )


def _lock_open(invitation: Invitation) -> Invitation:
    """Lock an invitation that is open, so that it is not accepted meanwhile; raises Problem 404."""
    Invitation.objects.select_for_update().get(pk=invitation.pk)
    return get_invitation(project=invitation.project, invitation_id=invitation.pk)


def _record(invitation: Invitation, action: str, actor: str, **states: object) -> None:
    record_audit(project=invitation.project, actor=actor, action=action, subject=invitation.email, **states)


# -- joining -----------------------------------------------------------------------------------------------------------
def read_link(token: str, *, now: datetime) -> Invitation:
    """Find the invitation of a link; raises Problem with a sentence that says why a link lets nobody in."""
    invitation, generation = _find_by_link(token)
    _refuse_ended(invitation, generation, now)
    return invitation


def membership_by_link(token: str, *, user: User) -> Membership | None:
    """Return what a person is in the project of a link that may have ended."""
    try:
        invitation, _ = _find_by_link(token)
    except Problem:
        return None
    return Membership.objects.filter(project=invitation.project, user=user).select_related("project").first()


def _find_by_link(token: str) -> tuple[Invitation, int]:
    """Return the invitation that a link names, and which of its links it is."""
    try:
        pk, generation, mark = Signer(salt=_SALT).unsign(token).split(".")
    except (BadSignature, ValueError) as error:
        raise Problem(
            404, "invitation_unknown", "This is no link of an invitation; copy it whole from the letter."
        ) from error
    invitation = Invitation.objects.filter(pk=int(pk)).select_related("project").first()
    if invitation is not None and not _is_mark_of(mark, invitation):
        raise Problem(
            410,
            "invitation_unknown",
            "The invitation of this link is not kept any more; ask an admin to invite you again.",
        )
    if invitation is None:
        raise Problem(410, "project_removed", "The project of this invitation was removed.")
    return invitation, int(generation)


def _refuse_ended(invitation: Invitation, generation: int, now: datetime) -> None:
    name = invitation.project.name
    if invitation.project.archived_at is not None:
        raise Problem(
            410, "project_archived", f"The project {name} is archived; ask one of its admins to restore it."
        )
    if invitation.accepted_at is not None:
        raise Problem(
            410,
            "invitation_used",
            f"This invitation to {name} was used already; sign in to open the project.",
        )
    if invitation.withdrawn_at is not None:
        raise Problem(410, "invitation_withdrawn", f"This invitation to {name} was withdrawn by an admin.")
    if invitation.generation != generation:
        raise Problem(
            410,
            "invitation_replaced",
            f"A newer link to {name} was sent to {invitation.email}; open that one.",
        )
    if invitation.expires_at <= now:
        raise Problem(
            410,
            "invitation_expired",
            f"This invitation to {name} expired on {invitation.expires_at:%-d %b %Y}; ask an admin to send it again.",
        )


def account_of(invitation: Invitation) -> User | None:
    """Return the account that the invited address has."""
    return User.objects.filter(email__iexact=invitation.email).first()


def accept(token: str, *, user: User, now: datetime) -> Membership:
    """Make the invited person a member; raises Problem 403 for anybody else, 410 for a link that ended."""
    with transaction.atomic():
        invitation = _lock_link(token, now)
        if user.email.lower() != invitation.email:
            raise of_another(invitation, user)
        return _join(invitation, user, now)


def of_another(invitation: Invitation, user: User) -> Problem:
    """Make the refusal for a person with another address."""
    return Problem(
        403,
        "invitation_of_another",
        f"This invitation is for {invitation.email}, and you are signed in as {user.email}; "
        "sign out and open the link again.",
    )


def accept_with_new_account(token: str, *, name: str, password: str, now: datetime) -> Membership:
    """Make an account for the invited address, and a member of it; raises Problem 422 for a weak password."""
    with transaction.atomic():
        invitation = _lock_link(token, now)
        if reason := refuse_password(invitation.email):
            raise Problem(403, "passwords_off", f"{reason} Then open the link again.")
        if account_of(invitation) is not None:
            raise _has_account(invitation)
        user = User(email=invitation.email, first_name=name.strip())
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise invalid("/password", " ".join(error.messages)) from error
        user.set_password(password)
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError as error:  # it was made just now
            raise _has_account(invitation) from error
        record_audit(
            project=invitation.project, actor=user.email, action="user.create", subject=user.email,
            after={"invited_by": invitation.created_by},
        )  # fmt: skip
        return _join(invitation, user, now)


def _has_account(invitation: Invitation) -> Problem:
    return Problem(
        409,
        "account_exists",
        f"{invitation.email} has an account; sign in with it and open the link again.",
    )


def _lock_link(token: str, now: datetime) -> Invitation:
    """Lock the invitation of a link, so that of two who open it at once one joins."""
    Invitation.objects.select_for_update().filter(pk=read_link(token, now=now).pk).first()
    return read_link(token, now=now)


def _join(invitation: Invitation, user: User, now: datetime) -> Membership:
    """Add the person; who is a member already keeps their role."""
    membership, is_new = Membership.objects.get_or_create(
        project=invitation.project, user=user, defaults={"role": invitation.role}
    )
    invitation.accepted_at = now
    invitation.save(update_fields=["accepted_at"])
    if is_new:
        _record(invitation, "member.join", user.email, after={"role": invitation.role})
    return membership

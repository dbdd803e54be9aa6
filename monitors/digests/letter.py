"""The words of a digest, as text and as HTML."""

from collections.abc import Sequence

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMultiAlternatives
from django.urls import reverse

from driftline.base.accounts.models import Project
from driftline.base.periods import Period
from monitors.alerts.channels.email.letter import Letter, Section
from monitors.alerts.wording import moment
from monitors.digests.content import DigestSection
from monitors.digests.models import Digest

SALT = "driftline.digest"


def compose(
    digest: Digest, found: Sequence[tuple[Project, Sequence[DigestSection]]], period: Period
) -> EmailMultiAlternatives:
    """Write the e-mail to a person about those of their projects that have something to say.

    Its Message-ID is the same whenever it is sent again, and its headers let a mail program end digests by one click
    (RFC 8058).
    """
    names = ", ".join(project.name for project, _ in found)
    letter = Letter(
        headline=f"What happened in {names} from {moment(period.start)} to {moment(period.end)}.",
        facts=[],
        sections=[
            Section(
                f"{project.name}: {section.heading}" if len(found) > 1 else section.heading, section.lines
            )
            for project, sections in found
            for section in sections
        ],
        link=("Open the incidents", f"{found[0][0].url}/incidents/"),
        footer=(
            f"You get this because you chose a digest ({digest}). To change it: {settings.PUBLIC_URL}"
            f"{reverse('digest')} To get no more of them: {unsubscribe_url(digest)}"
        ),
    )
    email = EmailMultiAlternatives(
        _subject(digest, found), letter.as_text(), to=[digest.user.email], headers=_headers(digest, period)
    )
    email.attach_alternative(letter.as_html(), "text/html")
    return email


def unsubscribe_url(digest: Digest) -> str:
    """Return the address that ends a person's digests by a POST, without signing in."""
    token = signing.dumps(digest.user_id, salt=SALT)
    return f"{settings.PUBLIC_URL}{reverse('digest_unsubscribe', args=[token])}"


def _subject(digest: Digest, found: Sequence[tuple[Project, Sequence[DigestSection]]]) -> str:
    counts = [
        f"{len(section.lines):,} {section.heading.lower()}"
        for word in ("Opened", "Closed", "Runs", "Wait for a person")
        for _, sections in found
        for section in sections
        if section.heading == word
    ]
    said = f": {', '.join(counts[:3])}" if counts and len(found) == 1 else ""
    return f"[digest] {'Today' if digest.every == Digest.Every.DAY else 'This week'} in Driftline{said}"


def _headers(digest: Digest, period: Period) -> dict[str, str]:
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">") or "localhost"
    return {
        "Message-ID": f"<digest-{digest.user_id}-{period.end:%Y%m%dT%H%M}@{host}>",
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": f"<{unsubscribe_url(digest)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }

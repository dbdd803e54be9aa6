"""Why somebody was not signed in: a sentence for the page, and a row of the audit trail."""

from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.core.cache import cache

from driftline.base.accounts.audit.origin import current_origin
from driftline.base.accounts.services import record_audit

ANYBODY = "somebody"
MAX_CHARACTERS = 200
_ONE_ROW_SECONDS = 60
_COUNT = "sso:refused"


class SignInRefused(OAuth2Error):
    """A sign-in that does not happen; `subject` is the address, or the provider's name, of who tried."""

    def __init__(self, code: str, detail: str, *, subject: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.subject = code, detail, subject


def record_refusal(provider_id: str, refusal: SignInRefused) -> None:
    """Count it, and add a row: of tries by nobody in particular one a minute and address, as anybody can make them."""
    cache.add(_COUNT, 0, None)
    cache.incr(_COUNT)
    address = current_origin().address
    if not refusal.subject and not cache.add(f"audit:sso:{address}", True, _ONE_ROW_SECONDS):
        return
    record_audit(
        project=None,
        actor=ANYBODY,
        action="sign_in.refused",
        subject=(refusal.subject or provider_id)[:MAX_CHARACTERS],
        after={"provider": provider_id, "code": refusal.code, "reason": refusal.detail[:1_000]},
    )


def count_refusals() -> int:
    """Return how many sign-ins by a provider were refused since the installation began, with a row or without."""
    return int(cache.get(_COUNT, 0))

"""Who needs a second factor, and who has one."""

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Membership, User

_FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]  # recovery codes alone are none


def needs_mfa(user: User) -> bool:
    """Return whether DRIFTLINE_REQUIRE_MFA asks a second factor of this person."""
    group: str = settings.REQUIRE_MFA
    is_staff = user.is_staff or user.is_superuser
    match group:
        case "none":
            return False
        case "all":
            return True
        case "staff":
            return is_staff
        case "admins":
            return is_staff or Membership.objects.filter(user=user).with_scope(Scope.ADMIN).exists()
    raise ValueError(group)


def lacks_mfa(user: User) -> bool:
    """Return whether this person must set a second factor up before anything else."""
    return needs_mfa(user) and not is_mfa_enabled(user, _FACTORS)

"""What follows when an account is switched off or on, wherever that is done."""

from driftline.base.accounts.models import User
from driftline.base.accounts.signals import tokens_changed
from driftline.sign_in.single_sign_on.sessions import end_all_sessions


def note_activation(*, user: User, actor: str) -> None:
    """Publish that an account was switched off or on: off ends its sessions, and the tokens that the person made.

    Serving processes follow within a second. The tokens are valid again once the account is switched on.
    """
    if not user.is_active:
        end_all_sessions(user, actor=actor)
    tokens_changed.send(sender=User)

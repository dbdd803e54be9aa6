"""Operators: the people who may do everything in an installation, of whom one who can sign in always remains."""

from django.db.models import QuerySet

from driftline.base.accounts.models import User
from driftline.base.errors import Problem


def operators() -> QuerySet[User]:
    """Select the accounts with all rights that can sign in and open the admin."""
    return User.objects.filter(is_superuser=True, is_staff=True, is_active=True)


def refuse_last_operator(user: User) -> None:
    """Raise Problem 409 where nobody but this person is an operator; in the caller's transaction.

    The operators are locked, so that of two who take each other's rights one is refused.
    """
    if list(operators().select_for_update().order_by("pk")) == [user]:
        raise Problem(409, "last_operator", f"{user.email} is the only operator; make another one first.")

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.db.models.signals import post_save

from driftline.base.accounts.models import User
from driftline.base.accounts.services import record_audit


class Command(createsuperuser.Command):
    """Django's own command, with a row in the audit trail."""

    help = "Makes an operator, who may do everything for all projects."

    def handle(self, *args: Any, **options: Any) -> str | None:
        # The address may be typed at a prompt, so the account says it.
        post_save.connect(_record, sender=User)
        try:
            said: str | None = super().handle(*args, **options)
        finally:
            post_save.disconnect(_record, sender=User)
        return said


def _record(*, instance: User, **_: Any) -> None:
    record_audit(
        project=None,
        actor="command line",
        action="user.create",
        subject=instance.email,
        after={"is_staff": instance.is_staff, "is_superuser": instance.is_superuser},
    )

from typing import Any

from django.contrib.auth.management.commands import changepassword

from driftline.base.accounts.services import record_audit


class Command(changepassword.Command):
    """Django's own command, with a row in the audit trail."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        said: str | None = super().handle(*args, **options)
        record_audit(
            project=None, actor="command line", action="password.set", subject=str(options["username"])
        )
        return said

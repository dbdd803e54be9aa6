from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from driftline.base.accounts.models import User
from driftline.base.accounts.services import record_audit


class Command(BaseCommand):
    help = "Removes a person's authenticator app and recovery codes, for one who lost both."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the person's e-mail address")
        parser.add_argument("--dry-run", action="store_true", help="say what there is, and remove nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        email, is_dry = options["email"], options["dry_run"]
        user = User.objects.filter(email=email).first()
        if user is None:
            raise CommandError(f"There is no account {email!r}.")
        with transaction.atomic():
            factors = Authenticator.objects.filter(user=user)
            kinds = sorted(factors.values_list("type", flat=True))
            if kinds and not is_dry:
                factors.delete()
                record_audit(
                    project=None, actor="command line", action="mfa.remove", subject=email, before=kinds
                )
        verb = "Would remove" if is_dry else "Removed"
        self.stdout.write(f"{verb} {len(kinds)} second factors of {email}: {', '.join(kinds) or 'none'}.")

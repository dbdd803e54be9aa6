from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.accounts.directory.tokens import create_directory_token, revoke_directory_token
from driftline.accounts.models import DirectoryToken
from driftline.common.clock import now
from driftline.common.errors import Problem


class Command(BaseCommand):
    help = (
        "scim_token create --provider P: makes a token with which an identity provider keeps accounts and groups here, "
        "and prints it alone on the last line. scim_token list; scim_token revoke PREFIX."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create")
        create.add_argument("--provider", required=True, help="its id in DRIFTLINE_SIGN_IN_FILE")
        verbs.add_parser("list")
        revoke = verbs.add_parser("revoke")
        revoke.add_argument("prefix", help="how the token begins, as the list shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["verb"]:
                case "create":
                    self._create(options["provider"])
                case "list":
                    self._list()
                case "revoke":
                    token = revoke_directory_token(prefix=options["prefix"], actor="command line", now=now())
                    self.stdout.write(f"Token {token.prefix}… of {token.provider} is revoked.")
        except Problem as problem:
            raise CommandError(problem.detail) from problem

    def _create(self, provider_id: str) -> None:
        token, text = create_directory_token(provider_id=provider_id, actor="command line")
        self.stdout.write(f"Token of {token.provider} for SCIM; enter it there with the address /scim/v2:")
        self.stdout.write(text)

    def _list(self) -> None:
        tokens = DirectoryToken.objects.filter(revoked_at=None).order_by("pk")
        for token in tokens:
            used = (
                f"last used {token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never used"
            )
            self.stdout.write(f"{token.prefix}… of {token.provider}: {used}")
        if not tokens:
            self.stdout.write("There is no token for SCIM; make one: scim_token create --provider ID.")

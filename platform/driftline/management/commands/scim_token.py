from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.accounts.models import DirectoryToken
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.management.token_options import NETWORKS, add_overlap, describe_end, split_networks
from driftline.sign_in.directory.tokens import (
    allow_directory_token,
    create_directory_token,
    revoke_directory_token,
    rotate_directory_token,
)


class Command(BaseCommand):
    help = (
        "scim_token create --provider P: makes a token with which an identity provider keeps accounts and groups here, "
        "and prints it alone on the last line. scim_token allow PREFIX NETWORKS: sets from where it may be used. "
        "scim_token rotate PREFIX: gives it a new secret and prints it alone on the last line. scim_token list; "
        "scim_token revoke PREFIX."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create")
        create.add_argument("--provider", required=True, help="its id in DRIFTLINE_SIGN_IN_FILE")
        create.add_argument("--allow", default="", help=f"{NETWORKS} (default: from anywhere)")
        verbs.add_parser("list")
        allow, rotate, revoke = (verbs.add_parser(verb) for verb in ("allow", "rotate", "revoke"))
        for verb in (allow, rotate, revoke):
            verb.add_argument("prefix", help="how the token begins, as the list shows it")
        allow.add_argument("networks", nargs="?", default="", help=f"{NETWORKS}; none: from anywhere")
        add_overlap(rotate)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["verb"]:
                case "create":
                    self._create(options["provider"], split_networks(options["allow"]))
                case "allow":
                    self._allow(options["prefix"], split_networks(options["networks"]))
                case "rotate":
                    self._rotate(options["prefix"], options["overlap_hours"])
                case "list":
                    self._list()
                case "revoke":
                    token = revoke_directory_token(prefix=options["prefix"], actor="command line", now=now())
                    self.stdout.write(f"Token {token.prefix}… of {token.provider} is revoked.")
        except Problem as problem:
            raise CommandError(problem.detail) from problem

    def _create(self, provider_id: str, networks: list[str]) -> None:
        token, text = create_directory_token(
            provider_id=provider_id, actor="command line", allowed_networks=networks
        )
        self.stdout.write(f"Token of {token.provider} for SCIM; enter it there with the address /scim/v2:")
        self.stdout.write(text)

    def _allow(self, prefix: str, networks: list[str]) -> None:
        token = allow_directory_token(prefix=prefix, networks=networks, actor="command line")
        self.stdout.write(
            f"Token {token.prefix}… may be used from {', '.join(token.allowed_networks) or 'anywhere'}."
        )

    def _rotate(self, prefix: str, overlap_hours: int) -> None:
        token, text = rotate_directory_token(
            prefix=prefix, actor="command line", now=now(), overlap_hours=overlap_hours
        )
        self.stdout.write(
            f"The old secret of token {token.prefix}… ends {describe_end(token.previous_until)}; the new one:"
        )
        self.stdout.write(text)

    def _list(self) -> None:
        tokens = DirectoryToken.objects.filter(revoked_at=None).order_by("pk")
        for token in tokens:
            used = (
                f"last used {token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never used"
            )
            places = f", from {', '.join(token.allowed_networks)} alone" if token.allowed_networks else ""
            self.stdout.write(f"{token.prefix}… of {token.provider}: {used}{places}")
        if not tokens:
            self.stdout.write("There is no token for SCIM; make one: scim_token create --provider ID.")

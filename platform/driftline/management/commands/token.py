from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken, Project
from driftline.base.accounts.services import (
    allow_networks,
    create_token,
    limit_token,
    rotate_token,
)
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.management.token_options import NETWORKS, add_overlap, describe_end, split_networks


class Command(BaseCommand):
    help = (
        "token create --project P --name N --scopes a,b: makes an API token and prints it alone on the last line. "
        "token limit PREFIX --requests-per-second N --rows-per-second N: bounds what a token may send. "
        "token allow PREFIX NETWORKS: sets from where it may be used. "
        "token rotate PREFIX: gives it a new secret and prints it alone on the last line."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create")
        create.add_argument("--project", required=True, help="the project's slug")
        create.add_argument("--name", required=True, help="what the token is for")
        create.add_argument("--scopes", required=True, help=f"some of {','.join(Scope)}, separated by commas")
        create.add_argument("--allow", default="", help=f"{NETWORKS} (default: from anywhere)")
        limit, allow, rotate = (verbs.add_parser(verb) for verb in ("limit", "allow", "rotate"))
        for verb in (limit, allow, rotate):
            verb.add_argument("prefix", help="how the token begins, as the tokens page shows it")
        allow.add_argument("networks", nargs="?", default="", help=f"{NETWORKS}; none: from anywhere")
        add_overlap(rotate)
        for verb in (create, limit):
            for what in ("requests", "rows"):
                verb.add_argument(
                    f"--{what}-per-second",
                    type=int,
                    default=0,
                    help=f"{what} a second to each serving process (default 0: no limit)",
                )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["verb"]:
                case "create":
                    self._create(**options)
                case "limit":
                    self._limit(**options)
                case "allow":
                    self._allow(**options)
                case "rotate":
                    self._rotate(**options)
        except Problem as problem:
            raise CommandError(problem.detail) from problem

    def _find(self, prefix: str) -> ApiToken:
        found = ApiToken.objects.filter(prefix__startswith=prefix, revoked_at=None)[:2]
        if len(found) != 1:
            many = "more than one valid token begins" if found else "no valid token begins"
            raise CommandError(
                f"{many.capitalize()} with {prefix!r}; give its prefix as the tokens page shows it."
            )
        return found[0]

    def _limit(self, *, prefix: str, requests_per_second: int, rows_per_second: int, **_: Any) -> None:
        token = self._find(prefix)
        limit_token(
            token=token,
            requests_per_second=requests_per_second,
            rows_per_second=rows_per_second,
            actor="command line",
        )
        self.stdout.write(
            f"Token {token.name!r} may send {requests_per_second or 'any number of'} requests and "
            f"{rows_per_second or 'any number of'} rows a second to each serving process."
        )

    def _allow(self, *, prefix: str, networks: str, **_: Any) -> None:
        token = self._find(prefix)
        allow_networks(token=token, networks=split_networks(networks), actor="command line")
        self.stdout.write(
            f"Token {token.name!r} may be used from {', '.join(token.allowed_networks) or 'anywhere'}."
        )

    def _rotate(self, *, prefix: str, overlap_hours: int, **_: Any) -> None:
        token = self._find(prefix)
        text = rotate_token(
            token=token,
            scopes=frozenset(Scope),
            actor="command line",
            now=now(),
            overlap_hours=overlap_hours,
        )
        ends = describe_end(token.previous_until)
        self.stdout.write(f"The old secret of token {token.name!r} ends {ends}; the new one:")
        self.stdout.write(text)

    def _create(self, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no project {options['project']!r}; the projects are: {known}.")
        token, text = create_token(
            project=project,
            name=options["name"],
            scopes=options["scopes"].split(","),
            actor="command line",
            requests_per_second=options["requests_per_second"],
            rows_per_second=options["rows_per_second"],
            allowed_networks=split_networks(options["allow"]),
        )
        self.stdout.write(
            f"Token {token.name!r} of project {project.slug} with scopes {', '.join(token.scopes)}:"
        )
        self.stdout.write(text)

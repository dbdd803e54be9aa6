from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.accounts.models import ApiToken, Project
from driftline.accounts.scopes import Scope
from driftline.accounts.services import create_token, limit_token
from driftline.common.errors import Problem


class Command(BaseCommand):
    help = (
        "token create --project P --name N --scopes a,b: makes an API token and prints it alone on the last line. "
        "token limit PREFIX --requests-per-second N --rows-per-second N: bounds what a token may send."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create")
        create.add_argument("--project", required=True, help="the project's slug")
        create.add_argument("--name", required=True, help="what the token is for")
        create.add_argument("--scopes", required=True, help=f"some of {','.join(Scope)}, separated by commas")
        limit = verbs.add_parser("limit")
        limit.add_argument("prefix", help="how the token begins, as the tokens page shows it")
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
            if options["verb"] == "create":
                self._create(**options)
            else:
                self._limit(**options)
        except Problem as problem:
            raise CommandError(problem.detail) from problem

    def _limit(self, *, prefix: str, requests_per_second: int, rows_per_second: int, **_: Any) -> None:
        found = ApiToken.objects.filter(prefix__startswith=prefix, revoked_at=None)[:2]
        if len(found) != 1:
            many = "more than one valid token begins" if found else "no valid token begins"
            raise CommandError(
                f"{many.capitalize()} with {prefix!r}; give its prefix as the tokens page shows it."
            )
        [token] = found
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
        )
        self.stdout.write(
            f"Token {token.name!r} of project {project.slug} with scopes {', '.join(token.scopes)}:"
        )
        self.stdout.write(text)

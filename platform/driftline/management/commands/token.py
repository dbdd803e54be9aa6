from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.accounts.models import SCOPES, Project
from driftline.accounts.services import create_token
from driftline.common.errors import Problem


class Command(BaseCommand):
    help = "token create --project P --name N --scopes a,b: makes an API token and prints it alone on the last line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create")
        create.add_argument("--project", required=True, help="the project's slug")
        create.add_argument("--name", required=True, help="what the token is for")
        create.add_argument(
            "--scopes", required=True, help=f"some of {','.join(SCOPES)}, separated by commas"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no project {options['project']!r}; the projects are: {known}.")
        try:
            token, text = create_token(
                project=project,
                name=options["name"],
                scopes=options["scopes"].split(","),
                actor="command line",
            )
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        self.stdout.write(
            f"Token {token.name!r} of project {project.slug} with scopes {', '.join(token.scopes)}:"
        )
        self.stdout.write(text)

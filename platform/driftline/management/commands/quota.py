from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from driftline.base.accounts.models import Project
from driftline.base.accounts.quotas import quotas_of, set_quotas
from driftline.base.errors import Problem

_MEANINGS = {
    "max_models": "models that the project may have, with archived ones",
    "max_rows_per_second": "rows a second that may be logged, and asked of its models, through each serving process",
    "max_bytes": "bytes that its log, summaries and artifacts may hold",
}


class Command(BaseCommand):
    help = (
        "quota PROJECT: shows what an operator lets a project have. "
        "With --max-models, --max-rows-per-second or --max-bytes it sets that; 0 sets no limit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the project's slug")
        for name, meaning in _MEANINGS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=meaning)

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no project {options['project']!r}; the projects are: {known}.")
        given = {name: options[name] for name in _MEANINGS if options[name] is not None}
        try:
            set_quotas(project=project, actor="command line", **given)
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        for name, value in quotas_of(project).items():
            self.stdout.write(f"{name}: {f'{value:,}' if value else 'no limit'} ({_MEANINGS[name]})")

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.base.errors import Problem
from driftline.operations import given_up
from driftline.operations.given_up import Piece


class Command(BaseCommand):
    help = "Begins background work afresh that was given up; without --all or an id it is listed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", nargs="?", help="such as `reference`, as listed")
        parser.add_argument("id", nargs="?", type=int, help="as listed")
        parser.add_argument("--all", action="store_true", help="all that was given up")
        parser.add_argument("--dismiss", action="store_true", help="stop telling of it instead")

    def handle(self, *args: Any, **options: Any) -> None:
        pieces = given_up.given_up()
        chosen = [piece for piece in pieces if options["all"] or _is_chosen(piece, options)]
        if options["kind"] and not chosen:
            raise CommandError(f"No {options['kind']} {options['id'] or ''} was given up.")
        change = given_up.dismiss if options["dismiss"] else given_up.retry
        for piece in chosen:
            try:
                change(kind=piece.kind, id=piece.id, actor="command line")
            except Problem as problem:
                raise CommandError(problem.detail) from problem
        for piece in [] if chosen else pieces:
            self.stdout.write(f"{piece.kind} {piece.id}  {piece.subject} ({piece.project}): {piece.reason}")
        done = "dismissed" if options["dismiss"] else "queued again"
        self.stdout.write(f"{len(chosen)} of {len(pieces)} given up pieces of work {done}.")


def _is_chosen(piece: Piece, options: dict[str, Any]) -> bool:
    return piece.kind == options["kind"] and options["id"] in (None, piece.id)

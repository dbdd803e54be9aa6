import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.operations.key_rotation import (
    Resealing,
    count_secrets,
    devices_behind,
    rotate_edge_key,
    rotate_endpoint_key,
    rotate_master_key,
    rotate_secret_key,
)
from inference.prediction_log.models import LogKey
from inference.registry.models import Version
from monitors.alerts.models import Channel
from monitors.alerts.sending.channel_services import SECRET_OVERLAP, rotate_secret
from monitors.workflows.mlflow.models import MlflowConnection
from monitors.workflows.mlflow.services import SECRET_OVERLAP as WEBHOOK_OVERLAP
from monitors.workflows.mlflow.services import rotate_webhook_secret

ACTOR = "command line"


class Command(BaseCommand):
    help = (
        "Gives a key of this installation a successor while it runs: rotate_key secret_key, log_key, endpoint_key or "
        "edge_key; rotate_key channel --project P --name N prints the new signing secret of a channel on the last "
        "line, and rotate_key mlflow --project P --model M that of a model's webhook. A rotation that was killed is "
        "run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        keys = parser.add_subparsers(dest="key", required=True)
        for name in ("secret_key", "log_key", "endpoint_key", "edge_key"):
            keys.add_parser(name).add_argument(
                "--dry-run", action="store_true", help="say what would be done, and change nothing"
            )
        channel = keys.add_parser("channel")
        channel.add_argument("--project", required=True, help="the project's slug")
        channel.add_argument("--name", required=True, help="the channel's name")
        mlflow = keys.add_parser("mlflow")
        mlflow.add_argument("--project", required=True, help="the project's slug")
        mlflow.add_argument("--model", required=True, help="the name of the model that follows MLflow")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["key"] == "channel":
            self._rotate_channel(options["project"], options["name"])
        elif options["key"] == "mlflow":
            self._rotate_webhook(options["project"], options["model"])
        elif options["dry_run"]:
            self.stdout.write(_describe(options["key"]))
        else:
            self._rotate(options["key"])

    def _rotate(self, key: str) -> None:
        if key == "log_key":
            done = rotate_master_key(settings.HOME, actor=ACTOR)
            self.stdout.write(
                f"{_count(done.wrapped, 'key')} wrapped anew, {done.lost:,} that no master key opens; "
                f"{_count(done.released, 'old master key')} deleted, {done.kept:,} kept, the new one among them."
            )
            failed = done.lost
        elif key == "edge_key":
            self._rotate_edge_key()
            return
        else:
            rotate = rotate_secret_key if key == "secret_key" else rotate_endpoint_key
            failed = self._say(rotate(settings.HOME, actor=ACTOR))
        if failed:
            sys.exit(1)

    def _rotate_edge_key(self) -> None:
        done = rotate_edge_key(settings.HOME, actor=ACTOR)
        self.stdout.write(
            "The new key signs manifests and plans, and the one before names it; "
            f"{_count(done.dropped, 'old key')} deleted. Devices that trust an earlier key as yet: "
            f"{done.devices_behind:,}. They follow with their next poll, if their agent knows how: the page Devices "
            "names those that cannot."
        )

    def _say(self, done: Resealing) -> int:
        self.stdout.write(
            f"{_count(done.resealed, 'secret')} sealed anew, {done.unreadable:,} that no key opens; "
            f"{_count(done.dropped, 'old key')} deleted."
        )
        return done.unreadable

    def _rotate_channel(self, project: str, name: str) -> None:
        channel = Channel.objects.filter(project__slug=project, name=name, deleted_at=None).first()
        if channel is None:
            raise CommandError(f"The project {project!r} has no channel {name!r}.")
        try:
            _, secret = rotate_secret(channel=channel, actor=ACTOR, now=now())
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        hours = SECRET_OVERLAP.total_seconds() / 3600
        self.stdout.write(
            f"Messages of {name} are signed with the secret before too for {hours:.0f} hours; the new one:"
        )
        self.stdout.write(secret)

    def _rotate_webhook(self, project: str, model: str) -> None:
        followed = MlflowConnection.objects.filter(model__project__slug=project, model__name=model).first()
        if followed is None:
            raise CommandError(f"The project {project!r} has no model {model!r} that follows MLflow.")
        secret = rotate_webhook_secret(connection=followed, actor=ACTOR, now=now())
        hours = WEBHOOK_OVERLAP.total_seconds() / 3600
        self.stdout.write(f"Webhooks with the secret before are taken for {hours:.0f} hours; the new one:")
        self.stdout.write(secret)


def _describe(key: str) -> str:
    match key:
        case "log_key":
            many = LogKey.objects.count()
            return f"A new master key would wrap {_count(many, 'key')} of the log; no chunk would change."
        case "endpoint_key":
            many = Version.objects.exclude(credential=b"").count()
            return (
                f"A new key would seal the credentials of {_count(many, 'version')}, and the plan would be "
                "published."
            )
        case "edge_key":
            return (
                "A new key would sign manifests and plans. Devices that trust an earlier key than the newest as yet: "
                f"{devices_behind():,}. Keys before the newest would be deleted: an agent that follows no "
                "succession and trusts one of them would be assigned nothing."
            )
    sealed = _count(count_secrets(), "row")
    if settings.SECRET_KEY_FILE is None:
        return f"DRIFTLINE_SECRET_KEY is set: {sealed} would be sealed under it, and no key made."
    return f"A new secret key would seal the secrets of {sealed}; the one before would be kept."


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"

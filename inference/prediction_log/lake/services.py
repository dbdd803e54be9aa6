"""Writes of a lake itself: set it, change its secret, stop it."""

from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.keys.secrets_at_rest import encrypt_sent
from driftline.base.work.advisory_locks import AdvisoryLock, try_lock
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.lake.days import note_all_days
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.selectors import files_of, find_lake
from inference.prediction_log.lake.settings import LakeSettings, check_lake
from inference.prediction_log.lake.stores.store import settings_of
from inference.registry.models import Model

MAX_SECRET_LENGTH = 1_024


def set_lake(*, project: Project, settings: LakeSettings, actor: str, secret: str | None = None) -> Lake:
    """Set a project's lake, or change how the one that it has is reached; every stored day is written to it.

    A secret that is stored stays where None is given, and is never sent to another server or for another key. Raises
    Problem: 422 for what could never work, 409 where another place is named while files are in the one of before.
    """
    check_lake(settings)
    sealed = encrypt_sent(secret or "", max_length=MAX_SECRET_LENGTH)
    if secret and settings.folder:
        raise invalid("/secret", "A folder needs no secret.")
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        lake = find_lake(project=project)
        before = None if lake is None else describe_lake(lake)
        lake = Lake(project=project) if lake is None else _moved(lake, settings)
        lake.settings = settings.model_dump(mode="json")
        if secret is not None:
            lake.secret = sealed
        lake.error, lake.failing_since, lake.retry_at = "", None, None
        lake.save()
        for model in Model.objects.filter(project=project).order_by("pk") if before is None else ():
            note_all_days(model)
        after = describe_lake(lake) | ({"secret": "changed"} if secret is not None else {})
        record_audit(
            project=project,
            actor=actor,
            action="lake.set",
            subject=settings.location(),
            before=before,
            after=after,
        )
        enqueue(Task.LONG_WORK)
    return lake


def _moved(lake: Lake, settings: LakeSettings) -> Lake:
    """Return the lake that may get these settings: it stays where its files are, which erasures have to find."""
    before = settings_of(lake)
    if (settings.location(), settings.url()) != (before.location(), before.url()):
        if not try_lock(AdvisoryLock.LAKE_FILES, lake.project_id):
            detail = f"A file is just being put in its place in {before.location()}. Try again in a moment."
            raise Problem(409, "lake_in_use", detail)
        files_of(lake.project).begin_again(draft="")  # a worker that opened the old place loses its lease
        if files_of(lake.project).written().exists():
            detail = (
                f"Files are in {before.location()}, and erasures have to find them. Stop this lake first; "
                "then set the other one."
            )
            raise Problem(409, "lake_in_use", detail)
        lake.marked_at = None
    if settings.address() != before.address():
        lake.secret = b""
    return lake


def stop_lake(*, lake: Lake, confirm: str, actor: str) -> None:
    """Forget a lake with its secret: nothing is written to it any more, and retention and erasures pass it by.

    Its files stay. `confirm` is its location; raises Problem (409) where it is not.
    """
    location = settings_of(lake).location()
    if confirm != location:
        detail = (
            "Its files stay where they are, and erasures do not reach them any more. Confirm it by its "
            f"location: confirm={location}"
        )
        raise Problem(409, "confirmation_needed", detail)
    with transaction.atomic():
        record_audit(
            project=lake.project,
            actor=actor,
            action="lake.stop",
            subject=location,
            before=describe_lake(lake) | {"files": files_of(lake.project).written().count()},
        )
        files_of(lake.project).delete()
        lake.delete()


def describe_lake(lake: Lake) -> dict[str, Any]:
    """Return what the audit trail and a configuration keep of a lake: everything but its secret."""
    return settings_of(lake).model_dump(mode="json")

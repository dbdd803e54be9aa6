"""What may be done to rows in the admin: each calls the service that pages and the API call."""

from django.db import transaction
from django.db.models import Q

from driftline.accounts.directory.tokens import revoke_directory_token
from driftline.accounts.members import remove_member
from driftline.accounts.models import Project
from driftline.accounts.projects import archive_project, restore_project
from driftline.accounts.services import record_audit, revoke_token
from driftline.admin.reading import AdminAct
from driftline.common.clock import now
from driftline.common.errors import Problem
from inference.prediction_log.sources.models import DeadLetter
from inference.prediction_log.sources.retrying import retry
from inference.prediction_log.sources.services import set_enabled
from inference.registry.models import Model
from inference.registry.services import archive_model, rollback
from monitors.alerts.channel_services import replay, update_channel
from monitors.rules.services import update_rule
from monitors.summaries.models import Summary
from monitors.summaries.services import rebuild_model
from monitors.workflows.models import ACTIVE_STATES
from monitors.workflows.rollouts.services import roll_back_run
from monitors.workflows.services import cancel


def _rebuild(summary: Summary, actor: str) -> None:
    """Have the rows of the window's time summarised and measured anew."""
    with transaction.atomic():
        windows = rebuild_model(summary.model_id, Q(start=summary.start, span=summary.span))
        if not windows:
            detail = (
                "Windows longer than a day follow from their days, and those without rows stay as they are."
            )
            raise Problem(409, "not_rebuilt", detail)
        record_audit(
            project=summary.model.project,
            actor=actor,
            action="window.rebuild",
            subject=f"{summary.model.name} {summary.span} {summary.start:%Y-%m-%d %H:%M}",
        )


def _retry_letter(letter: DeadLetter, actor: str) -> None:
    letters = DeadLetter.objects.filter(pk=letter.pk)
    retried = retry(source=letter.source, letters=letters, actor=actor, now=now())
    if retried.refused:
        reason = DeadLetter.objects.filter(pk=letter.pk).values_list("code", flat=True).first() or letter.code
        raise Problem(
            409, "refused_again", f"It was refused again ({reason}); change the mapping of its source first."
        )


def _archived_already(row: Model | Project) -> str:
    return f"{row.name} is archived already." if row.archived_at else ""


def _not_archived(row: Model | Project) -> str:
    return "" if row.archived_at else f"{row.name} is not archived."


SEND_AGAIN = AdminAct(
    "send_again",
    "Send again",
    "The same message is sent to its channel once more, under the same id.",
    "is sent again",
    lambda delivery, actor: replay(delivery=delivery, actor=actor),
    lambda delivery: delivery.channel.project,
)
DISABLE_CHANNEL = AdminAct(
    "disable",
    "Disable",
    "Nothing is sent to it until it is enabled; what waits for it is kept and can be sent again.",
    "is disabled",
    lambda channel, actor: update_channel(channel=channel, actor=actor, enabled=False),
)
ENABLE_CHANNEL = AdminAct(
    "enable",
    "Enable",
    "Messages are sent to it from now on.",
    "is enabled",
    lambda channel, actor: update_channel(channel=channel, actor=actor, enabled=True),
    lambda channel: channel.project,
)
DISABLE_RULE = AdminAct(
    "disable",
    "Disable",
    "It judges nothing until it is enabled again.",
    "is disabled",
    lambda rule, actor: update_rule(rule=rule, actor=actor, enabled=False),
)
ENABLE_RULE = AdminAct(
    "enable",
    "Enable",
    "It judges the windows from now on.",
    "is enabled",
    lambda rule, actor: update_rule(rule=rule, actor=actor, enabled=True),
    lambda rule: rule.project,
)
CANCEL_RUN = AdminAct(
    "cancel",
    "Cancel",
    "Its worker stops within seconds; the champion stays.",
    "is cancelled",
    lambda run, actor: cancel(run=run, actor=actor),
    refusal=lambda run: (
        "" if run.state in ACTIVE_STATES else f"Run {run.pk} is {run.get_state_display().lower()} already."
    ),
)
ROLL_BACK_ROLLOUT = AdminAct(
    "roll_back",
    "Roll back",
    "The champion of before answers every request again, and the run ends.",
    "is rolled back",
    lambda rollout, actor: roll_back_run(run=rollout.run, actor=actor),
)
ROLL_BACK_MODEL = AdminAct(
    "roll_back",
    "Roll back",
    "The version that was champion before answers every request again.",
    "is rolled back",
    lambda model, actor: rollback(
        model=model, expected_generation=None, actor=actor, reason="rolled back in the admin"
    ),
    lambda model: model.project,
)
ARCHIVE_MODEL = AdminAct(
    "archive",
    "Archive",
    "It is not listed any more, and its rules are not judged; nothing of it is deleted.",
    "is archived",
    lambda model, actor: archive_model(model=model, is_archived=True, actor=actor),
    refusal=_archived_already,
)
RESTORE_MODEL = AdminAct(
    "restore",
    "Restore",
    "It is listed again, and its rules are judged.",
    "is restored",
    lambda model, actor: archive_model(model=model, is_archived=False, actor=actor),
    lambda model: model.project,
    refusal=_not_archived,
)
ARCHIVE_PROJECT = AdminAct(
    "archive",
    "Archive",
    "It is hidden and read only: its models answer no request, its tokens change and log nothing, and its rules are "
    "not judged. Nothing of it is deleted.",
    "is archived",
    lambda project, actor: archive_project(project=project, actor=actor, now=now()),
    refusal=_archived_already,
)
RESTORE_PROJECT = AdminAct(
    "restore",
    "Restore",
    "Its models answer requests again, and its rules are judged.",
    "is restored",
    lambda project, actor: restore_project(project=project, actor=actor),
    refusal=_not_archived,
)
REMOVE_MEMBER = AdminAct(
    "remove",
    "Remove",
    "The project's pages are closed to the person at once; their account, and the tokens that they made, stay.",
    "is removed",
    lambda membership, actor: remove_member(member=membership, actor=actor),
)
REBUILD = AdminAct(
    "rebuild",
    "Rebuild",
    "Workers summarise the rows of this hour or day again, of all versions, and measure and judge it anew.",
    "is rebuilt by the workers",
    _rebuild,
    lambda summary: summary.model.project,
)
RETRY_LETTER = AdminAct(
    "retry",
    "Retry",
    "It is read by the mapping that its source has now.",
    "is stored",
    _retry_letter,
    lambda letter: letter.source.project,
)
PAUSE_SOURCE = AdminAct(
    "pause",
    "Pause",
    "Nothing is read from it until it is resumed; it goes on where it stopped.",
    "is paused",
    lambda source, actor: set_enabled(source=source, actor=actor, enabled=False),
)
RESUME_SOURCE = AdminAct(
    "resume",
    "Resume",
    "It is read on from where it stopped.",
    "is resumed",
    lambda source, actor: set_enabled(source=source, actor=actor, enabled=True),
    lambda source: source.project,
)
REVOKE = AdminAct(
    "revoke",
    "Revoke",
    "Whoever uses it is refused at once. This cannot be undone.",
    "is revoked",
    lambda token, actor: revoke_token(token=token, actor=actor, now=now()),
    is_final=True,
)
REVOKE_SCIM = AdminAct(
    "revoke",
    "Revoke",
    "The provider that uses it is refused at once. This cannot be undone.",
    "is revoked",
    lambda token, actor: revoke_directory_token(prefix=token.prefix, actor=actor, now=now()),
    is_final=True,
)

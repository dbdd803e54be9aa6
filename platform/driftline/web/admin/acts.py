"""What may be done to rows in the admin: each calls the service that pages and the API call."""

from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.members import remove_member
from driftline.base.accounts.models import Project
from driftline.base.accounts.projects import archive_project, restore_project
from driftline.base.accounts.services import record_audit, revoke_token
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.sign_in.directory.tokens import revoke_directory_token
from driftline.web.admin.reading import AdminAct
from inference.registry.deployments import rollback
from inference.registry.models import Model
from inference.registry.services import archive_model
from monitors.alerts.sending.channel_services import replay, update_channel
from monitors.rules.services import update_rule
from monitors.summaries.models import Summary
from monitors.summaries.services import rebuild_model
from monitors.workflows.models import ACTIVE_STATES
from monitors.workflows.rollouts.services import roll_back_run
from monitors.workflows.services import cancel


def _rebuild(summary: Summary, actor: str) -> None:
    """Schedule the rows of the window's time to be summarised and measured anew."""
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

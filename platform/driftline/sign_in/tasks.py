"""What workers do for accounts."""

from celery import shared_task

from driftline.base.clock import now
from driftline.base.work.task_queue import Task
from driftline.sign_in.invitations import send_invitation
from driftline.sign_in.password_reset import send_reset_mails


@shared_task(name=Task.SEND_RESET_MAIL)
def send_reset_mail(*, email: str, **_: object) -> None:
    send_reset_mails(email)


@shared_task(name=Task.SEND_INVITATION)
def send_invitation_mail(*, invitation_id: int, **_: object) -> None:
    send_invitation(invitation_id, now=now())

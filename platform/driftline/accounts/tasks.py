"""What workers do for accounts."""

from celery import shared_task

from driftline.accounts.password_reset import send_reset_mails
from driftline.common.task_queue import Task


@shared_task(name=Task.SEND_RESET_MAIL)
def send_reset_mail(*, email: str, **_: object) -> None:
    send_reset_mails(email)

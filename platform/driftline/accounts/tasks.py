"""What workers do for accounts."""

from celery import shared_task

from driftline.accounts.password_reset import send_reset_mails


@shared_task(name="accounts.send_reset_mail")
def send_reset_mail(*, email: str, **_: object) -> None:
    send_reset_mails(email)

"""What people do in a browser at a whole installation, and the mail that they get from it."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from playwright.sync_api import Page

from tests.flows.installation.running import Installation


def log_in(page: Page, installation: Installation) -> None:
    known = installation.credentials
    page.goto("/")
    page.fill("[name=login]", known["email"])
    page.fill("[name=password]", known["password"])
    page.click("main button")


def add_an_address(page: Page) -> None:
    page.click("nav[aria-label=Main] >> text=Settings")
    page.click("text=Channels")
    page.fill("[name=name]", "me")
    page.fill("[name=target]", "me@example.com")
    page.click("main form button >> text=Add")


def mail_about(words: str, folder: Path) -> EmailMessage | None:
    for file in sorted(folder.glob("*")):
        mail = cast(EmailMessage, message_from_bytes(file.read_bytes(), policy=policy.default))
        if words in text_of(mail):
            return mail
    return None


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return body.get_content() if body is not None else ""

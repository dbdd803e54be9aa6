"""Two-factor authentication as a person turns it on and signs in with it."""

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail
from playwright.sync_api import Page, expect

from driftline.sign_in.tasks import send_reset_mail
from tests.browser.conftest import PHONE, SignIn
from tests.worlds.drifted import PASSWORD, World

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def confirm_password(page: Page) -> None:
    page.fill("[name=password]", PASSWORD)
    page.click("main button")


def turn_on(page: Page) -> str:
    """Set an authenticator app up from the page that is open, and give its secret."""
    confirm_password(page)
    secret = page.inner_text("#authenticator_secret")
    expect(page.locator("img.qr")).to_be_visible()
    page.fill("[name=code]", code_of(secret))
    page.click("main button >> text=Turn on")
    return secret


class TestTwoFactorAuthentication:
    @pytest.fixture(autouse=True)
    def a_code_may_be_one_step_old(self, settings: Any) -> None:
        """A busy machine may take a code in the step after the one in which it was made."""
        settings.MFA_TOTP_TOLERANCE = 1

    def test_is_found_in_the_frame_turned_on_and_asked_for(self, sign_in: SignIn, world: World) -> None:
        page = sign_in()
        page.click(".person >> text=Two-factor")
        page.click("text=Set up an app")
        secret = turn_on(page)
        expect(page.locator("#recovery_codes")).to_be_visible()
        page.click("nav[aria-label=Account] >> text=Two-factor")
        expect(page.locator("main")).to_contain_text("10 of 10 are unused")
        kept = Authenticator.objects.get(user=world.owner, type="totp")
        assert secret not in str(kept.data)
        page.click("text=Sign out")

        page.goto("/accounts/login/")
        page.fill("[name=login]", world.owner.email)
        confirm_password(page)
        expect(page.locator("h1")).to_have_text("Two-Factor Authentication")
        page.fill("[name=code]", code_of(secret))
        page.click("main button >> nth=0")

        expect(page.locator(".person")).to_contain_text(world.owner.email)

    def test_comes_before_anything_else_where_it_is_required(
        self, sign_in: SignIn, world: World, settings: Any
    ) -> None:
        settings.REQUIRE_MFA = "all"
        page = sign_in(width=PHONE)
        turn_on(page)

        page.goto("/models/")

        expect(page.locator("main")).to_contain_text(world.model.name)


class TestPasskeys:
    def test_are_added_and_sign_in_after_the_password(self, sign_in: SignIn, world: World) -> None:
        page = sign_in()
        devices = page.context.new_cdp_session(page)
        devices.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        page.click(".person >> text=Two-factor")
        page.click("text=Add a key")
        confirm_password(page)
        page.fill("[name=name]", "Desk")
        page.click("main button >> text=Add")
        expect(page.locator("#recovery_codes")).to_be_visible()
        page.goto("/accounts/profile/")
        expect(page.locator("main")).to_contain_text("with recovery codes")
        page.goto("/accounts/2fa/webauthn/")
        expect(page.locator("main table")).to_contain_text("Desk")
        page.click("text=Sign out")

        page.goto("/accounts/login/")
        page.fill("[name=login]", world.owner.email)
        confirm_password(page)
        page.click("text=Use a security key")

        expect(page.locator(".person")).to_contain_text(world.owner.email)
        assert Authenticator.objects.get(user=world.owner, type="webauthn").last_used_at is not None


class TestNewPassword:
    def test_is_chosen_by_the_link_of_a_mail(self, sign_in: SignIn, world: World, live_server: Any) -> None:
        page = sign_in()
        page.click("text=Sign out")
        page.goto("/accounts/login/")
        page.click("text=Forgot your password?")
        page.fill("[name=email]", world.owner.email)
        page.click("text=Send the link")
        expect(page.locator("h1")).to_have_text("Look at your mail")
        send_reset_mail(email=world.owner.email)  # as the worker does with the task that the form enqueued
        (link,) = [word for word in str(mail.outbox[-1].body).split() if "/reset/key/" in word]

        page.goto("/" + link.split("/", 3)[3])
        page.fill("[name=password1]", "another long password")
        page.fill("[name=password2]", "another long password")
        page.click("main button >> nth=0")

        world.owner.refresh_from_db()
        assert world.owner.check_password("another long password")

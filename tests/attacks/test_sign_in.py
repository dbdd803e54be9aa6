"""Attacks on the sign-in: passwords that are guessed, a code that is gone around, people who are locked out."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.conf import settings as django_settings
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings
from django.utils import timezone

from driftline.base.accounts.models import ApiToken, User, digest_of
from driftline.base.accounts.services import revoke_token
from driftline.sign_in.bootstrap import OPERATOR, bootstrap_home

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
MANY = 11  # tries: more than any limit lets through in a minute
PROXY, ELSEWHERE = "127.0.0.1", "198.51.100.7"


@pytest.fixture(autouse=True, scope="module")
def quick_hashes() -> Iterator[None]:
    """Sixty guesses are about counting, not about how long a hash takes."""
    quick = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    middleware = [name for name in django_settings.MIDDLEWARE if "whitenoise" not in name]
    with override_settings(PASSWORD_HASHERS=quick, MIDDLEWARE=middleware):
        yield


@pytest.fixture(autouse=True)
def no_guess_was_counted_before(settings: Any, tmp_path: Path) -> None:
    cache.clear()
    settings.HOME = tmp_path
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@bank.example", PASSWORD)


@pytest.fixture
def colleague() -> User:
    return User.objects.create_user("colleague@bank.example", PASSWORD)


def with_totp(user: User) -> Authenticator:
    return TOTP.activate(user, SECRET).instance


def code_of_now() -> str:
    return format_hotp_value(hotp_value(SECRET, int(time.time()) // 30))


def try_password(
    user: User, password: str, *, client: Client | None = None, at: str = "/accounts/login/", **extra: Any
) -> Client:
    """Send the form as a browser would, whatever its fields are called there."""
    client = client or Client()
    form = {"login": user.email, "username": user.email, "password": password}
    client.post(at, form, **extra)
    return client


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


class TestTheDoorOfTheAdmin:
    def test_sixty_passwords_do_not_lead_to_the_right_one(self, operator: User) -> None:
        """Sixty wrong passwords at /admin/login/, where nothing counted them, and then the right one."""
        for number in range(60):
            try_password(operator, f"guess number {number}", at="/admin/login/")

        assert not is_in(try_password(operator, PASSWORD, at="/admin/login/"))

    def test_a_password_without_its_code_opens_nothing(self, operator: User) -> None:
        """The operator has an authenticator; /admin/login/ took the password alone."""
        with_totp(operator)

        client = try_password(operator, PASSWORD, at="/admin/login/")

        assert not is_in(client)
        assert client.get("/admin/").status_code == 302
        assert client.get("/settings/tokens").status_code == 302

    @pytest.mark.slow
    def test_a_password_and_its_code_open_it(self, operator: User) -> None:
        with_totp(operator)
        client = Client()
        door = client.get("/admin/", follow=True)
        address, _ = door.redirect_chain[-1]

        client.post(address, {"login": operator.email, "password": PASSWORD})
        client.post("/accounts/2fa/authenticate/", {"code": code_of_now()})

        assert address.startswith("/accounts/login/")
        assert client.get("/admin/").status_code == 200

    def test_members_of_staff_try_no_passwords_of_others_there(self, operator: User, colleague: User) -> None:
        """Somebody of the staff is signed in and sends the operator's password to /admin/login/ to become them."""
        colleague.is_staff = True
        colleague.save()
        client = try_password(colleague, PASSWORD)

        try_password(operator, PASSWORD, client=client, at="/admin/login/")

        assert client.session["_auth_user_id"] == str(colleague.pk)

    def test_the_admins_own_password_form_is_not_there_to_guess_at(self, operator: User) -> None:
        client = try_password(operator, PASSWORD)

        assert client.get("/admin/password_change/")["Location"] == "/accounts/password/change/"


class TestGuessing:
    @pytest.mark.slow
    def test_one_account_is_guarded_whatever_the_addresses(self, operator: User) -> None:
        """Guesses, each from another address, and then the right password from one more."""
        for number in range(MANY):
            try_password(operator, f"guess {number}", REMOTE_ADDR=f"203.0.113.{number}")

        assert not is_in(try_password(operator, PASSWORD, REMOTE_ADDR=ELSEWHERE))

    def test_another_host_header_gives_no_new_tries(self, operator: User) -> None:
        """Tries were counted by the Host header too, and any port was let in: each port gave five new ones."""
        for number in range(MANY):
            host, address = f"127.0.0.1:{6000 + number}", f"203.0.113.{number}"
            try_password(operator, f"guess {number}", HTTP_HOST=host, REMOTE_ADDR=address)

        assert not is_in(try_password(operator, PASSWORD, HTTP_HOST="127.0.0.1:7000", REMOTE_ADDR=ELSEWHERE))

    def test_writing_an_address_in_capitals_gives_no_new_tries(self, operator: User) -> None:
        for number in range(MANY):
            operator.email = operator.email.upper() if number % 2 else operator.email.lower()
            try_password(operator, f"guess {number}", REMOTE_ADDR=f"203.0.113.{number}")

        assert not is_in(try_password(User(email="operator@bank.example"), PASSWORD, REMOTE_ADDR=ELSEWHERE))

    @pytest.mark.slow
    def test_a_code_is_not_guessed_either(self, operator: User) -> None:
        """Somebody who knows the password tries codes from ever new addresses."""
        with_totp(operator)
        client = try_password(operator, PASSWORD)
        for number in range(MANY):
            client.post("/accounts/2fa/authenticate/", {"code": "000"}, REMOTE_ADDR=f"203.0.113.{number}")

        client.post("/accounts/2fa/authenticate/", {"code": code_of_now()}, REMOTE_ADDR=ELSEWHERE)

        assert not is_in(client)

    def test_a_code_is_not_used_twice(self, operator: User) -> None:
        """Somebody who looked over the shoulder sends the same code again, to another process."""
        with_totp(operator)
        code = code_of_now()
        assert _signs_in(operator, code)

        _forget_what_this_process_remembers()

        assert not _signs_in(operator, code)

    @pytest.mark.slow
    def test_is_counted_by_all_processes_together(self, operator: User) -> None:
        """Each serving process had counts of its own: with four, an account had four times as many tries."""
        for number in range(MANY):
            try_password(operator, f"guess {number}", REMOTE_ADDR=f"203.0.113.{number}")

        _forget_what_this_process_remembers()

        assert not is_in(try_password(operator, PASSWORD, REMOTE_ADDR=ELSEWHERE))


def _signs_in(user: User, code: str) -> bool:
    client = try_password(user, PASSWORD)
    client.post("/accounts/2fa/authenticate/", {"code": code})
    return is_in(client)


def _forget_what_this_process_remembers() -> None:
    """Stand for another process: what a process keeps in its own memory is not there."""
    from django.core.cache.backends import locmem

    for remembered in (*locmem._caches.values(), *locmem._expire_info.values()):
        remembered.clear()


class TestLockingOut:
    @pytest.mark.slow
    def test_a_stranger_behind_the_proxy_does_not_lock_everybody_out(
        self, operator: User, colleague: User, settings: Any
    ) -> None:
        """Behind a proxy all people have one address: twelve wrong tries of one closed the door for all."""
        settings.TRUSTED_PROXIES = ["127.0.0.0/8"]
        for number in range(12):
            try_password(
                operator, f"guess {number}", REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=f"203.0.113.66, {PROXY}"
            )

        assert is_in(try_password(colleague, PASSWORD, REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=ELSEWHERE))

    @pytest.mark.slow
    def test_made_up_forwarding_does_not_make_a_new_client(
        self, operator: User, colleague: User, settings: Any
    ) -> None:
        """What a client writes into X-Forwarded-For stands left of what the proxy adds."""
        settings.TRUSTED_PROXIES = ["127.0.0.0/8"]
        for number in range(MANY):
            stranger = User(email=f"somebody-{number}@bank.example")
            forwarded = f"198.51.100.{number}, 203.0.113.66"
            try_password(stranger, "guess", REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=forwarded)

        refused = try_password(
            colleague, PASSWORD, REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR="198.51.100.99, 203.0.113.66"
        )

        assert not is_in(refused)

    def test_forwarding_of_nobody_declared_is_not_believed(self, colleague: User, settings: Any) -> None:
        settings.TRUSTED_PROXIES = []
        for number in range(MANY):
            stranger = User(email=f"somebody-{number}@bank.example")
            try_password(
                stranger, "guess", REMOTE_ADDR="203.0.113.66", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}"
            )

        refused = try_password(
            colleague, PASSWORD, REMOTE_ADDR="203.0.113.66", HTTP_X_FORWARDED_FOR="198.51.100.99"
        )

        assert not is_in(refused)

    @pytest.mark.slow
    def test_the_owner_gets_in_with_a_browser_that_was_in_before(self, operator: User) -> None:
        """A stranger sends wrong passwords without end, even from the owner's own network."""
        browser = try_password(operator, PASSWORD, REMOTE_ADDR=ELSEWHERE)
        browser.post("/accounts/logout/")
        for number in range(MANY):
            try_password(operator, f"guess {number}", REMOTE_ADDR=ELSEWHERE)

        assert is_in(try_password(operator, PASSWORD, client=browser, REMOTE_ADDR=ELSEWHERE))

    def test_a_browser_that_was_in_before_has_no_endless_tries(self, operator: User) -> None:
        browser = try_password(operator, PASSWORD)
        browser.post("/accounts/logout/")
        for number in range(MANY):
            try_password(operator, f"guess {number}", client=browser, REMOTE_ADDR=f"203.0.113.{number}")

        assert not is_in(try_password(operator, PASSWORD, client=browser))

    @pytest.mark.slow
    def test_being_in_before_helps_with_no_other_account(self, operator: User, colleague: User) -> None:
        """A member uses the browser in which they are known to try the operator's passwords."""
        browser = try_password(colleague, PASSWORD)
        browser.post("/accounts/logout/")
        for number in range(MANY):
            try_password(operator, f"guess {number}", client=browser, REMOTE_ADDR=f"203.0.113.{number}")

        assert not is_in(try_password(operator, PASSWORD, client=browser, REMOTE_ADDR=ELSEWHERE))

    @pytest.mark.slow
    def test_the_owner_gets_in_by_a_reset_link_while_a_stranger_keeps_guessing(self, operator: User) -> None:
        for number in range(MANY):
            try_password(operator, f"guess {number}", REMOTE_ADDR=f"203.0.113.{number}")
        browser = Client()
        link = ask_for_a_link(browser, operator.email)
        form = browser.get(link).headers["Location"]
        new = {"password1": "another long password", "password2": "another long password"}
        browser.post(form, new)
        for number in range(MANY):
            try_password(operator, f"guess {number}", REMOTE_ADDR=f"203.0.113.{number}")

        assert is_in(try_password(operator, "another long password", client=browser))


def ask_for_a_link(client: Client, address: str, **extra: Any) -> str:
    """Ask for a reset, have the worker do what waits for it, and give the path of the link."""
    client.post("/accounts/password/reset/", {"email": address}, **extra)
    send_what_waits(address)
    (letter,) = mail.outbox
    words = str(letter.body).split()
    (link,) = [word for word in words if "/reset/key/" in word]
    return "/" + link.split("/", 3)[3]


def send_what_waits(address: str) -> None:
    """Do what the broker would have a worker do; today's form sends by itself."""
    try:
        from driftline.sign_in.tasks import send_reset_mail
    except ImportError:
        return
    send_reset_mail(email=address)


class TestResetLinks:
    def test_lead_to_the_public_url_whatever_the_host_header_says(
        self, operator: User, settings: Any
    ) -> None:
        """`Host: 127.0.0.1:6666` in the request made the operator's mail lead to port 6666."""
        settings.PUBLIC_URL = "https://driftline.bank.example"

        ask_for_a_link(Client(), operator.email, HTTP_HOST="127.0.0.1:6666")

        (letter,) = mail.outbox
        assert "https://driftline.bank.example/accounts/password/reset/key/" in letter.body
        assert "6666" not in letter.body + letter.subject
        assert "127.0.0.1" not in letter.body

    def test_confirmations_of_an_address_lead_there_too(self, operator: User, settings: Any) -> None:
        settings.PUBLIC_URL = "https://driftline.bank.example"
        client = try_password(operator, PASSWORD)

        form = {"email": "me@elsewhere.example", "action_add": ""}
        client.post("/accounts/email/", form, HTTP_HOST="127.0.0.1:6666")

        (letter,) = mail.outbox
        assert "https://driftline.bank.example/accounts/confirm-email/" in letter.body
        assert "6666" not in letter.body + letter.subject

    def test_nobody_is_written_to_who_has_no_account(self) -> None:
        """A stranger had Driftline send "Unknown Account" letters to whoever they liked."""
        Client().post("/accounts/password/reset/", {"email": "nobody@elsewhere.example"})
        send_what_waits("nobody@elsewhere.example")

        assert mail.outbox == []

    def test_the_answer_does_not_tell_who_has_an_account(self, operator: User) -> None:
        """Neither by what it says nor by how long a letter takes."""
        known, unknown = Client(), Client()
        ask = "/accounts/password/reset/"

        of_known = known.post(ask, {"email": operator.email}, follow=True)
        letters = len(mail.outbox)
        of_unknown = unknown.post(ask, {"email": "nobody@elsewhere.example"}, follow=True)

        assert (of_known.status_code, of_known.redirect_chain) == (200, of_unknown.redirect_chain)
        assert of_known.content == of_unknown.content
        assert letters == len(mail.outbox) == 0  # a worker writes the letter, after the answer

    def test_are_not_sent_without_end(self, operator: User) -> None:
        answers = [
            Client().post(
                "/accounts/password/reset/", {"email": operator.email}, REMOTE_ADDR=f"203.0.113.{n}"
            )
            for n in range(8)
        ]

        assert answers[0].status_code == 302
        assert answers[-1].status_code == 429


class TestTheFirstWayIn:
    def test_a_revoked_token_stays_revoked_and_the_password_as_chosen(self, tmp_path: Path) -> None:
        """Whoever revoked the printed token got, at the next start, a new one and their password reset."""
        first = bootstrap_home(tmp_path)
        operator = User.objects.get(email=OPERATOR)
        operator.set_password(PASSWORD)
        operator.save()
        assert first.token
        token = ApiToken.objects.get(digest=digest_of(first.token))
        revoke_token(token=token, actor="the operator", now=timezone.now())

        bootstrap_home(tmp_path)

        assert ApiToken.objects.filter(revoked_at=None).count() == 0
        assert User.objects.get(email=OPERATOR).check_password(PASSWORD)

    def test_a_restore_without_the_credentials_file_resets_nothing(self, tmp_path: Path) -> None:
        bootstrap_home(tmp_path)
        operator = User.objects.get(email=OPERATOR)
        operator.set_password(PASSWORD)
        operator.save()
        (tmp_path / "credentials").unlink()

        bootstrap_home(tmp_path)

        assert ApiToken.objects.count() == 1
        assert User.objects.get(email=OPERATOR).check_password(PASSWORD)
        assert not (tmp_path / "credentials").exists()

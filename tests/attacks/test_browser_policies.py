"""What a script that got into a page could do is bounded by headers: no styles or code from text, no devices."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import User
from driftline.base.accounts.services import create_project
from driftline.web.pages.templatetags.figures import place
from tests.pages_client import PagesClient
from tests.worlds.approvals import make_model

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [
    "/",
    "/models/",
    "/models/approvals/",
    "/incidents/",
    "/settings/tokens",
    "/accounts/login/",
    "/api/v1/docs",
]


@pytest.fixture
def client(db: None, settings: Any, tmp_path: Path) -> Client:
    settings.HOME = tmp_path
    owner = User.objects.create_superuser("owner@bank.example")
    make_model(create_project(slug="bank", name="Bank", owner=owner))
    client = PagesClient()
    client.force_login(owner)
    return client


def sources(answer: Any, directive: str) -> set[str]:
    """List what a page may load of one kind."""
    policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
    return set(policy.get(directive, policy["default-src"]).split())


class TestContentSecurityPolicy:
    @pytest.mark.parametrize("path", PAGES)
    def test_of_a_page_takes_no_style_and_no_code_from_text(self, path: str, client: Client) -> None:
        """Every page allowed `style-src 'unsafe-inline'`: markup that got in could restyle and hide parts of it."""
        answer = client.get(path, follow=True)

        assert answer.status_code == 200
        assert sources(answer, "script-src") == {"'self'"}
        # of the style elements that Plotly adds: one without content, and two of its maps
        assert sources(answer, "style-src") == {
            "'self'",
            "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
            "'sha256-gG0b4ixT/IQUp7JJLbyKcpYcYDjq2Wp8NGv3f+aasqo='",
            "'sha256-vCpS8VyHtSqXbN/JkDhke+jauUq+p7lBAVCL+C75wZo='",
        }

    def test_is_looser_for_the_admin_alone(self, client: Client) -> None:
        answer = client.get("/admin/")

        assert sources(answer, "script-src") == {"'self'", "'unsafe-eval'"}
        assert sources(answer, "style-src") == {"'self'", "'unsafe-inline'"}

    def test_is_kept_by_our_own_markup(self, subtests: pytest.Subtests) -> None:
        for template in sorted((CHECKOUT / "templates").rglob("*.html")):
            with subtests.test(template.name):
                markup = template.read_text()

                assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script>", markup)


class TestPermissionsPolicy:
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/accounts/login/",
            "/admin/",
            "/api/v1/models",
            "/nowhere",
            "/static/driftline.css",
            "/healthz",
        ],
    )
    def test_refuses_devices_to_everything_that_is_answered(self, path: str, client: Client) -> None:
        """No answer had a Permissions-Policy."""
        answer = client.get(path)
        answer.close()

        policy = answer["Permissions-Policy"]

        for name in ("camera", "geolocation", "microphone", "payment", "usb"):
            assert f"{name}=()" in policy
        assert "clipboard-write=(self)" in policy


class TestPlaces:
    @pytest.mark.parametrize(
        ("percent", "name"),
        [
            (0, "p0"),
            ("33.3%", "p33-5"),
            (12.24, "p12"),
            ("100.0%", "p100"),
            (104, "p100"),
            (-3, "p0"),
            ("7", "p7"),
        ],
    )
    def test_are_named_to_the_half_per_cent(self, percent: float | str, name: str) -> None:
        assert place(percent) == name

    def test_have_each_its_rule(self) -> None:
        rules = dict(
            re.findall(
                r"\.(p[\d-]+) \{ --p: ([\d.]+)%; \}", (CHECKOUT / "templates/static/places.css").read_text()
            )
        )

        assert rules == {place(half / 2): f"{half / 2:g}" for half in range(201)}

"""A company that signs in by SAML, and a browser that carries what its provider signs."""

import base64
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from lxml import etree

from driftline.base.accounts.models import Project
from driftline.sign_in.single_sign_on.configuration import ProviderSettings, SamlSettings, SignInSettings
from driftline.sign_in.single_sign_on.saml.metadata import read_metadata
from tests.driftline.sign_in.single_sign_on.conftest import RULES, Company
from tests.driftline.sign_in.single_sign_on.saml.assertions import (
    DRIFTLINE,
    ISSUER,
    assertion_of,
    metadata,
    packed,
    response,
    sign,
    signer,
)


class SamlCompany(Company):
    """The file of the operator with a provider that speaks SAML; a test forges what it is about."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.browser = Client()
        self.configure()

    def configure(self, *, passwords_for: tuple[str, ...] | None = None, **changed: Any) -> ProviderSettings:
        described = read_metadata(metadata(signer().certificate), ISSUER)
        values = {
            "id": "company", "name": "Example Ltd", "issuer": ISSUER, "client_id": DRIFTLINE, "roles": RULES,
            "emails_are_verified": True, "saml": SamlSettings(metadata=described),
        }  # fmt: skip
        one = ProviderSettings(**values | changed)
        self._settings.SIGN_IN = SignInSettings((one,), passwords_for)
        return one

    @property
    def recipient(self) -> str:
        return f"{self._settings.PUBLIC_URL}/accounts/saml/company/response/"

    def start(self, **query: str) -> dict[str, str]:
        """Press the button of the sign-in, and return the attributes of the request that the provider gets."""
        answer = self.browser.get("/accounts/saml/company/login/", query)
        assert answer.status_code == 302, answer.content
        return dict(message_in(answer["Location"], "SAMLRequest").attrib)

    def response(self, **changed: Any) -> Any:
        """Start a sign-in, and return the provider's response to it, not signed yet."""
        request_id = self.start()["ID"]
        return response(self.recipient, request_id, **changed)

    def bring(self, root: Any) -> HttpResponse:
        return self.bring_text(packed(root))

    def bring_text(self, text: str) -> HttpResponse:
        """Post a response as the provider's page has a browser do, without its session, and follow to the end."""
        posted = Client().post("/accounts/saml/company/response/", {"SAMLResponse": text})
        return self.browser.get(posted["Location"]) if posted.status_code == 302 else posted

    def sign_in(self, forge: Callable[[Any], None] = lambda _: None, **changed: Any) -> HttpResponse:
        """Go to the provider and come back with what it signs; `forge` changes that on the way."""
        root = self.response(**changed)
        sign(assertion_of(root))
        forge(root)
        return self.bring(root)


def message_in(address: str, parameter: str) -> Any:
    """Return the message in the query of an address."""
    content = base64.b64decode(parse_qs(urlsplit(address).query)[parameter][0])
    return etree.fromstring(zlib.decompress(content, -15))


@pytest.fixture
def company(settings: Any, db: None, fraud: Project) -> SamlCompany:
    return SamlCompany(settings)

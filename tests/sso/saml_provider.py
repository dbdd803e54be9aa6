"""A real SAML identity provider with one client: Driftline. Who its people are, it reads from a file at each question.

.sso/saml/bin/python tests/sso/saml_provider.py PORT DRIFTLINE_URL PEOPLE_FILE
"""

import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

PORT, DRIFTLINE, PEOPLE = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
URL = f"http://127.0.0.1:{PORT}"
CLIENT = "https://driftline.bank.example/saml"
KEY, CERTIFICATE = PEOPLE.with_name("key.pem"), PEOPLE.with_name("certificate.pem")
_SESSIONS: dict[str, str] = {}
"""The last session of each person, as the assertion called it."""


def make_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Ltd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    CERTIFICATE.write_bytes(certificate)
    KEY.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def configuration(*, knows_driftline: bool) -> IdPConfig:
    """Return the configuration of the provider; it knows Driftline by the metadata that Driftline publishes."""
    clients = {"remote": [{"url": f"{DRIFTLINE}/accounts/saml/company/metadata/"}]} if knows_driftline else {}
    return IdPConfig().load(
        {
            "entityid": f"{URL}/metadata",
            "xmlsec_binary": shutil.which("xmlsec1"),
            "key_file": str(KEY),
            "cert_file": str(CERTIFICATE),
            "metadata": clients,
            "service": {
                "idp": {
                    "endpoints": {
                        "single_sign_on_service": [(f"{URL}/enter", BINDING_HTTP_REDIRECT)],
                        "single_logout_service": [(f"{URL}/leave", BINDING_HTTP_REDIRECT)],
                    },
                    "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None}},
                }
            },
        }
    )


@cache
def server() -> Server:
    return Server(config=configuration(knows_driftline=True))


def name_of(person: str) -> NameID:
    return NameID(format=NAMEID_FORMAT_PERSISTENT, sp_name_qualifier=CLIENT, text=f"{person}-1")


def page_that_posts(person: str, packed_request: str) -> str:
    """Return the page by which a browser brings the answer about a person to Driftline."""
    asked = server().parse_authn_request(packed_request, BINDING_HTTP_REDIRECT)
    arguments = server().response_args(asked.message)
    answer = server().create_authn_response(
        json.loads(PEOPLE.read_text())[person],
        userid=person,
        name_id=name_of(person),
        authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"},
        sign_assertion=True,
        sign_response=False,
        sign_alg=SIG_RSA_SHA256,
        digest_alg=DIGEST_SHA256,
        **arguments,
    )
    _SESSIONS[person] = re.search(r'SessionIndex="([^"]+)"', str(answer))[1]
    page = server().apply_binding(BINDING_HTTP_POST, str(answer), arguments["destination"], response=True)
    return page["data"]


def address_that_ends(person: str) -> str:
    """Return the address that says to Driftline that somebody left here."""
    address = f"{DRIFTLINE}/accounts/saml/company/logout/"
    _, message = server().create_logout_request(
        address, CLIENT, name_id=name_of(person), session_indexes=[_SESSIONS[person]], sign=False
    )
    return location_of(message, address, response=False)


def address_that_answers(packed_request: str) -> str:
    """Return the address that says to Driftline that its logout request was carried out."""
    asked = server().parse_logout_request(packed_request, BINDING_HTTP_REDIRECT)
    answer = server().create_logout_response(asked.message, [BINDING_HTTP_REDIRECT], sign=False)
    return location_of(answer, f"{DRIFTLINE}/accounts/saml/company/logout/", response=True)


def location_of(message: Any, address: str, *, response: bool) -> str:
    binding = server().apply_binding(
        BINDING_HTTP_REDIRECT, str(message), address, response=response, sign=True, sigalg=SIG_RSA_SHA256
    )
    return dict(binding["headers"])["Location"]


class Handler(BaseHTTPRequestHandler):
    """Asks who somebody is, once for each browser, and takes every password."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        person = re.sub(r".*person=(\w*).*", r"\1", self.headers.get("Cookie", ""))
        request = query.get("SAMLRequest", [""])[0]
        if path == "/metadata":
            self.show(str(entity_descriptor(configuration(knows_driftline=False))))
        elif path == "/enter" and person:
            self.show(page_that_posts(person, request))
        elif path == "/enter":
            self.show(
                f'<form action="/password" method="post"><input type="hidden" name="SAMLRequest" value="{request}">'
                '<input name="login"><input name="password" type="password"><button>Sign in</button></form>'
            )
        elif path == "/leave" and request:
            self.lead(address_that_answers(request), person="")
        elif path == "/leave" and person and not query:
            self.lead(address_that_ends(person), person="")
        else:
            self.show("You are signed out.")

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        person = sent["login"][0]
        self.show(page_that_posts(person, sent["SAMLRequest"][0]), person=person)

    def show(self, text: str, *, person: str | None = None) -> None:
        self.send_response(200)
        self.keep(person)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(text.encode())

    def lead(self, address: str, *, person: str) -> None:
        self.send_response(302)
        self.keep(person)
        self.send_header("Location", address)
        self.end_headers()

    def keep(self, person: str | None) -> None:
        if person is not None:
            self.send_header("Set-Cookie", f"person={person}; Path=/; HttpOnly")


make_key()
listening = HTTPServer(("127.0.0.1", PORT), Handler)
print("ready", flush=True)
listening.serve_forever()

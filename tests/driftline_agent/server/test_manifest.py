"""A manifest counts when the server of the enrolment signed it for this device, and it is neither old nor over."""

import base64
import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from driftline_agent.errors import ModelRefused
from driftline_agent.server.manifest import Manifest, SignedManifest, check_current, read_manifest
from tests.driftline_agent.device import IDENTITY, KEY, YEAR_2026_MS, signed, times


def read(one: SignedManifest) -> Manifest:
    return read_manifest(one, keys=[IDENTITY.public_key], device="truck")


def test_what_the_server_signed_is_read() -> None:
    manifest = read(signed(times(1), "3"))

    assert (manifest.version, manifest.model, manifest.signature.features) == ("3", "fuel", ("x",))


class TestAForeignManifest:
    def test_that_was_changed_is_refused(self) -> None:
        one = signed(times(1))
        changed = dataclasses.replace(one, manifest=one.manifest.replace('"fuel"', '"gold"'))

        with pytest.raises(ModelRefused, match="not signed"):
            read(changed)

    def test_that_another_key_signed_is_refused(self) -> None:
        one = signed(times(1))
        forged = base64.b64encode(Ed25519PrivateKey.generate().sign(one.manifest.encode())).decode()

        with pytest.raises(ModelRefused, match="not signed"):
            read(dataclasses.replace(one, signature=forged))

    @pytest.mark.parametrize("signature", ["", "x", "!!!!", "AAAA"])
    def test_without_a_signature_is_refused(self, signature: str) -> None:
        with pytest.raises(ModelRefused, match="not signed"):
            read(dataclasses.replace(signed(times(1)), signature=signature))

    def test_of_another_device_is_refused(self) -> None:
        with pytest.raises(ModelRefused, match="of the device van"):
            read(signed(times(1), device="van"))


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../etc/passwd"},
        {"sha256": "A" * 64},
        {"size": 0},
        {"size": 1 << 40},
        {"sha256": None},
        {"generation": None},
        {"expires_at": "soon"},
    ],
)
def test_a_signed_manifest_with_a_field_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused, match="cannot be read"):
        read(signed(times(1), **change))


def test_a_signed_text_that_is_no_manifest_is_refused() -> None:
    for text in ("", "[]", "1", "null", "{"):
        one = SignedManifest(text, base64.b64encode(KEY.sign(text.encode())).decode())

        with pytest.raises(ModelRefused, match="cannot be read"):
            read(one)


class TestAnOldManifest:
    def test_of_a_lower_generation_is_refused(self) -> None:
        manifest = read(signed(times(1), generation=4))

        check_current(manifest, generation=4, now_ms=YEAR_2026_MS)
        with pytest.raises(ModelRefused, match="generation 4, and 5"):
            check_current(manifest, generation=5, now_ms=YEAR_2026_MS)

    def test_that_has_ended_is_refused(self) -> None:
        manifest = read(signed(times(1), expires_at="2026-01-01T00:00:00Z"))

        check_current(manifest, generation=0, now_ms=YEAR_2026_MS - 1)
        with pytest.raises(ModelRefused, match="has ended"):
            check_current(manifest, generation=0, now_ms=YEAR_2026_MS)

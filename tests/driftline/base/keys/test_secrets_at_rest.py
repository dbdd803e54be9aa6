"""Secrets that must be read back are encrypted under the installation's key."""

from typing import Any

import pytest

from driftline.base.keys.secrets_at_rest import SecretUnreadable, decrypt, encrypt


class TestSecretsAtRest:
    def test_come_back_as_they_were(self) -> None:
        assert decrypt(encrypt("whsec_ä")) == "whsec_ä"
        assert decrypt(memoryview(encrypt("whsec_ä"))) == "whsec_ä"

    def test_are_not_in_what_is_stored_and_never_look_the_same(self) -> None:
        first, second = encrypt("whsec_text"), encrypt("whsec_text")

        assert b"whsec_text" not in first
        assert first != second

    def test_outlive_a_rotation_of_the_key(self, settings: Any) -> None:
        settings.SECRET_KEY = "old"
        stored = encrypt("whsec_text")

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]

        assert decrypt(stored) == "whsec_text"

    @pytest.mark.parametrize(
        "damage", [lambda stored: stored[:-2], lambda stored: b"", lambda stored: b"plain text"]
    )
    def test_that_cannot_be_read_say_what_to_do(self, damage: Any) -> None:
        with pytest.raises(SecretUnreadable, match="DRIFTLINE_SECRET_KEY"):
            decrypt(damage(encrypt("whsec_text")))

"""What a SAML provider publishes of itself."""

from msgspec import Struct


class ProviderMetadata(Struct, frozen=True):
    """Its addresses, and the certificates of the keys that it signs with."""

    sign_in_url: str
    certificates: tuple[str, ...]
    logout_url: str = ""

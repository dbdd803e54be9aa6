"""What a provider is answered where its request is refused (RFC 7644, 3.12)."""

from dataclasses import dataclass


@dataclass
class DirectoryRefusal(Exception):
    """A request that is not carried out: an HTTP status, a sentence, and SCIM's word for it where there is one."""

    status: int
    detail: str
    scim_type: str = ""

    def __str__(self) -> str:
        return self.detail


def no_such(what: str) -> DirectoryRefusal:
    """Refuse an object that does not exist, or is no business of this provider."""
    return DirectoryRefusal(404, f"There is no such {what}.")


def wrong_value(detail: str) -> DirectoryRefusal:
    """Refuse a value."""
    return DirectoryRefusal(400, detail, "invalidValue")

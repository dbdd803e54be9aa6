"""Where a source of objects reads, as people set it."""

import re
from fnmatch import translate
from typing import Any, Literal

from pydantic import Field

from driftline.base.errors import invalid
from inference.connectors.objects.settings import AllowedFolders, Line, StoreSettings, check_store

FORMATS = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz"),
    "ndjson": (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz"),
}
"""The endings by which a format is known."""


SOURCE_FOLDERS = AllowedFolders("SOURCE_FOLDERS")


class ObjectsSettings(StoreSettings):
    """A bucket or a folder, which objects of it are read, and how; the secret is the secret access key."""

    kind: Literal["objects"] = "objects"
    service: Literal["s3", "azure", "gcs"] = Field(
        default="s3",
        description="azure: Blob Storage, where the bucket is a container, access_key_id the storage account, and the "
        "secret a key of it; gcs: Google Cloud Storage, where the secret is the JSON key of a service account, and "
        "access_key_id and region are not used",
    )
    glob: Line = Field(
        default="*",
        min_length=1,
        description="of the whole name; * is any text, slashes too, ? one character",
    )
    format: Literal["auto", "parquet", "csv", "ndjson"] = Field(
        default="auto", description="auto: by the ending of the name; objects with another ending are passed"
    )
    delimiter: Literal[",", ";", "\t", "|"] = Field(default=",", description="of CSV")
    interval_seconds: int = Field(
        default=60, ge=5, le=86_400, description="between two passes over the listing"
    )
    reread_changed: bool = Field(
        default=False, description="read an object again that was replaced after it was read"
    )

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to; see `StoreSettings`."""
        return self.service, *super().address()

    def url(self) -> str:
        """Return the address of the store; see `StoreSettings`."""
        if self.service == "gcs" and not self.endpoint:
            return "https://storage.googleapis.com"
        return super().url()

    def reads(self, partition: str) -> bool:
        """Return True: the bucket or folder of a source stays, and what is read of it is counted as a whole."""
        return True

    def format_of(self, path: str) -> str:
        """Return how an object is read; empty where it is not, as its name does not match or its ending is another."""
        if not re.fullmatch(translate(self.glob), path):
            return ""
        if self.format != "auto":
            return self.format
        lower = path.lower()
        return next((name for name, endings in FORMATS.items() if lower.endswith(endings)), "")


def check_objects(settings: ObjectsSettings) -> None:
    """Raise Problem (422) for settings that could never work, or lead where this server must not read."""
    if settings.service == "azure" and settings.bucket and not settings.endpoint:
        detail = "Name the address of the storage account, such as https://account.blob.core.windows.net."
        raise invalid("/settings/endpoint", detail)
    if settings.service == "gcs" and settings.access_key_id:
        detail = "The key of a service account names the account itself; leave the access key ID empty."
        raise invalid("/settings/access_key_id", detail)
    check_store(settings, SOURCE_FOLDERS, has_path=settings.service == "azure")

"""Where a bucket or a folder of objects is, as people set it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from django.conf import settings as django_settings
from pydantic import Field

from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.outbound.targets import check_target

MAX_PATH_BYTES = 1_024
"""Of the name of an object, as S3 has it; files with longer names are not read."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")

type Line = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


@dataclass(frozen=True)
class AllowedFolders:
    """The folders that the operator allows by a setting."""

    setting: str

    def has(self, folder: str) -> bool:
        """Return whether a folder lies below one that is allowed; a link counts as where it leads."""
        if not Path(folder).is_absolute():
            return False
        real = Path(os.path.realpath(folder))
        allowed: list[str] = getattr(django_settings, self.setting)
        return any(real.is_relative_to(os.path.realpath(one)) for one in allowed)


class StoreSettings(Body):
    """A bucket, or a folder of this server; the secret is the secret access key."""

    bucket: str = Field(default="", max_length=63, description="of S3, or what speaks its protocol")
    endpoint: str = Field(
        default="",
        max_length=300,
        description="such as https://minio.example.com; empty: that of AWS for the region",
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,40}$")
    access_key_id: str = Field(
        default="", max_length=128, pattern=r"^[!-~]*$", description="empty: the bucket is public"
    )
    folder: Line = Field(
        default="", description="instead of a bucket: a path below a folder that the operator allows"
    )
    prefix: Line = Field(default="", description="with which the names of the objects begin")

    def address(self) -> tuple[Any, ...]:
        """Return what a stored secret belongs to: it signs requests to nobody else."""
        return self.url(), self.access_key_id

    def url(self) -> str:
        """Return the address of the store, without the bucket."""
        return self.endpoint.rstrip("/") or f"https://s3.{self.region}.amazonaws.com"


def check_store(settings: StoreSettings, allowed: AllowedFolders, *, has_path: bool = False) -> None:
    """Raise Problem (422) for a bucket that can never be one, or a folder that is not among those `allowed`.

    Where the endpoint `has_path`, the account may be one, as emulators have it.
    """
    if bool(settings.bucket) == bool(settings.folder):
        raise invalid("/settings/bucket", "Objects are in a bucket or in a folder; name one of them.")
    if settings.folder:
        _check_folder(settings, allowed)
        return
    if not _BUCKET.fullmatch(settings.bucket):
        detail = f"{settings.bucket!r} is no bucket; use its name alone, such as predictions."
        raise invalid("/settings/bucket", detail)
    target = check_target(settings.url(), "/settings/endpoint")
    path = target.url.split("://", 1)[1].partition("/")[2]
    if path and not (has_path and path == settings.access_key_id):
        raise invalid("/settings/endpoint", "An endpoint has no path; the bucket is a field of its own.")


def _check_folder(settings: StoreSettings, allowed: AllowedFolders) -> None:
    if settings.endpoint or settings.access_key_id:
        raise invalid("/settings/folder", "A folder has neither an endpoint nor an access key.")
    if not allowed.has(settings.folder):
        detail = f"The operator allows no such folder; see DRIFTLINE_{allowed.setting}."
        raise invalid("/settings/folder", detail, "folder_not_allowed")

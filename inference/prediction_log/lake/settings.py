"""Where a lake is, as people set it."""

from inference.connectors.objects.settings import AllowedFolders, StoreSettings, check_store

LAKE_FOLDERS = AllowedFolders("LAKE_FOLDERS")


class LakeSettings(StoreSettings):
    """A bucket, or a folder of this server; files lie below `prefix`."""

    def location(self) -> str:
        """Return the lake's address as people write it."""
        root = f"s3://{self.bucket}" if self.bucket else self.folder.rstrip("/")
        return "/".join(part for part in (root, self.prefix.strip("/")) if part)

    def name_of(self, path: str) -> str:
        """Return the name of a file within the bucket or folder."""
        return "/".join(part for part in (self.prefix.strip("/"), path) if part)


def check_lake(settings: LakeSettings) -> None:
    """Raise Problem (422) for a lake that could never work, or lies where this server must not write."""
    check_store(settings, LAKE_FOLDERS)

"""Import a converter that the application may not have, or say which package to install."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from driftline_client.errors import DriftlineError

_PACKAGES = {"sklearn": "scikit-learn"}


def needed(module: str) -> Any:
    """Import a module; raises DriftlineError that names the package to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        package = _PACKAGES.get(missing, missing)
        raise DriftlineError(
            f"Converting this model needs the package {package}; run: pip install {package}"
        ) from error


def versions_of(*packages: str) -> dict[str, str]:
    """Return the installed versions of those packages that are there."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

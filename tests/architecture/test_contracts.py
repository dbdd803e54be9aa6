"""The contracts of imports name each part of the stages, as core or as feature."""

import tomllib
from pathlib import Path
from typing import Any

from driftline.features import FEATURES

CHECKOUT = Path(__file__).resolve().parents[2]


def test_each_part_of_the_stages_is_of_the_core_or_a_feature() -> None:
    core, independent = contract_named("The core"), contract_named("Features are independent")
    features = outermost(FEATURES.values())

    assert core["forbidden_modules"] == independent["modules"] == features
    assert core["source_modules"] == ["driftline", *sorted(parts_of_stages(features) - set(features))]


def contract_named(start: str) -> dict[str, Any]:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found: dict[str, Any] = next(one for one in contracts if one["name"].startswith(start))
    return found


def outermost(packages: Any) -> list[str]:
    """Drop those that lie in another."""
    known = sorted(packages)
    return [one for one in known if not any(one.startswith(f"{other}.") for other in known)]


def parts_of_stages(features: list[str]) -> set[str]:
    """Return the modules and packages of the stages; of a package that has a feature, those in it."""
    parts = modules_in("inference") | modules_in("monitors")
    for package in {feature.rpartition(".")[0] for feature in features} & parts:
        parts = parts - {package} | modules_in(package)
    return parts


def modules_in(package: str) -> set[str]:
    folder = CHECKOUT / package.replace(".", "/")
    files = [*folder.glob("*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
    names = {path.stem for path in files} - {"__init__", "migrations"}
    return {f"{package}.{name}" for name in names}

"""What is installed is what pyproject.toml asks for, pinned and hashed, from whichever index the user has."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
FILES = {
    "requirements.txt": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["setup"]],
    "requirements-dev.txt": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]],
}


def pinned(name: str) -> dict[str, str]:
    lines = (CHECKOUT / name).read_text().splitlines()
    pins = [line.split(";")[0].rstrip(" \\").split("==") for line in lines if "==" in line.split("--hash")[0]]
    return {canonicalize_name(package): version.strip() for package, version in pins}


@pytest.mark.parametrize("name", FILES)
class TestRequirements:
    def test_pin_a_release_that_each_dependency_allows(self, name: str) -> None:
        pins = pinned(name)

        wrong = [
            text
            for text, found in ((text, Requirement(text)) for text in FILES[name])
            if not found.specifier.contains(pins.get(canonicalize_name(found.name), "0"), prereleases=True)
        ]

        assert wrong == [], "run `make requirements`"

    def test_carry_a_hash_for_each_pin(self, name: str) -> None:
        entries = (CHECKOUT / name).read_text().replace("\\\n", "").splitlines()

        assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []

    def test_name_no_index(self, name: str) -> None:
        text = (CHECKOUT / name).read_text()

        assert "://" not in text
        assert "-index" not in text

    def test_of_development_agree_with_those_of_operation(self, name: str) -> None:
        operation, all_of_them = pinned("requirements.txt"), pinned(name)

        assert {package: all_of_them[package] for package in operation} == operation

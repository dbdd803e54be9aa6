"""What is installed is what pyproject.toml asks for, pinned and hashed, from whichever index the user has."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from driftline.base import extras

CHECKOUT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
ALL_EXTRAS = [one for listed in EXTRAS.values() for one in listed]
RUN = [*PROJECT["dependencies"], *GROUPS["setup"]]
TEST = [*RUN, *ALL_EXTRAS, *GROUPS["test"]]
FILES: dict[str, list[Any]] = {
    "requirements.txt": RUN,
    "requirements-test.txt": TEST,
    "requirements-dev.txt": [*TEST, *(one for one in GROUPS["dev"] if isinstance(one, str))],
    "requirements-serving.txt": GROUPS["serving"],
    **{f".ci/extras/{name}.txt": listed for name, listed in EXTRAS.items()},
}
OF_THE_OWNER = {"django", "celery", "evidently", "scipy", "psycopg2-binary", "plotly", "onnxruntime"}


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

    def test_are_a_part_of_those_of_development(self, name: str) -> None:
        all_of_them = pinned("requirements-dev.txt")

        assert {package: all_of_them[package] for package in pinned(name)} == pinned(name)


def test_what_is_installed_for_everybody_has_the_owners_packages_and_none_of_an_extra_alone() -> None:
    there = pinned("requirements.txt").keys()

    assert there >= OF_THE_OWNER
    assert len(there) <= 120
    assert not there & {canonicalize_name(Requirement(one).name) for one in ALL_EXTRAS}


def test_each_extra_has_a_list_and_says_what_it_is_for() -> None:
    lists = {path.stem for path in (CHECKOUT / ".ci/extras").iterdir()}

    assert lists == EXTRAS.keys() == {extra.name for extra in extras.EXTRAS}
    page = (CHECKOUT / "docs/guides/extras.md").read_text()
    assert all(f"| `{name}` |" in page for name in lists)
    assert all(map(extras.is_installed, extras.EXTRAS)), "the tests run with every extra"

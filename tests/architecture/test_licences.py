"""Each pinned package is under a licence that pyproject.toml allows, and the bill of materials lists them all."""

import importlib.util
import json
import subprocess
import sys
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PIN = f"left-pad==1.3.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"


def load(path: Path) -> Any:
    """Import a script that lies outside of all packages."""
    specification = importlib.util.spec_from_file_location("licences", path)
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules["licences"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


licences = load(CHECKOUT / ".ci" / "licences.py")


class Installed(Distribution):
    """A package with nothing but metadata."""

    def __init__(self, **fields: str) -> None:
        self._message = Message()
        for name, value in fields.items():
            self._message[name.replace("_", "-")] = value

    def read_text(self, filename: str) -> str:
        return self._message.as_string()

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


def policy(*allowed: str, **stated: str) -> Any:
    return licences.Policy(
        frozenset(allowed), {name.replace("_", "-"): text for name, text in stated.items()}
    )


def faults(policy: Any, found: Distribution | None = None) -> list[str]:
    packages = {"left-pad": found} if found else {}
    return list(licences.faults(licences.read_pins(PIN), packages, policy))


class TestAllowed:
    @pytest.mark.parametrize(
        ("expression", "is_allowed"),
        [
            ("MIT", True),
            ("GPL-3.0-only", False),
            ("GPL-3.0-only OR MIT", True),
            ("MIT AND GPL-3.0-only", False),
            ("MIT OR ISC AND GPL-3.0-only", True),
            ("(MIT OR ISC) AND GPL-3.0-only", False),
            ("(GPL-3.0-only OR MIT) AND ISC", True),
            ("Apache-2.0 WITH LLVM-exception", False),
        ],
    )
    def test_is_what_can_be_met_with_the_licences_of_the_list(
        self, expression: str, is_allowed: bool
    ) -> None:
        assert licences.is_allowed(expression, frozenset({"MIT", "ISC", "Apache-2.0"})) is is_allowed

    def test_is_an_exception_that_is_named(self) -> None:
        allowed = frozenset({"Apache-2.0 WITH LLVM-exception"})

        assert licences.is_allowed("Apache-2.0 WITH LLVM-exception", allowed)


class TestFaults:
    def test_name_a_package_under_another_licence(self) -> None:
        found = Installed(Name="left-pad", License_Expression="AGPL-3.0-only")

        assert faults(policy("MIT"), found) == [
            "left-pad is under AGPL-3.0-only, which [tool.driftline.licences] does not allow."
        ]

    def test_name_a_package_that_says_none(self) -> None:
        [fault] = faults(policy("MIT"), Installed(Name="left-pad"))

        assert fault.startswith("left-pad says none: state its licence")

    def test_name_a_package_that_is_not_installed_here(self) -> None:
        [fault] = faults(policy("MIT"))

        assert fault.startswith("left-pad is not installed here")

    def test_are_none_where_it_is_stated_or_a_classifier_says_it(self) -> None:
        classified = Installed(Name="left-pad", Classifier="License :: OSI Approved :: MIT License")

        assert faults(policy("MIT", left_pad="mit")) == []
        assert faults(policy("MIT"), classified) == []

    def test_name_what_is_stated_of_a_package_that_is_not_pinned_any_more(self) -> None:
        [fault] = faults(policy("MIT", left_pad="MIT", right_pad="MIT"))

        assert fault.startswith("right-pad has a stated licence and is in no list")


def test_all_digests_of_a_pin_are_read() -> None:
    [pin] = licences.read_pins(PIN)

    assert (pin.name, pin.version, pin.sha256) == ("left-pad", "1.3.0", ("a" * 64, "b" * 64))


@pytest.mark.e2e
def test_the_bill_of_materials_lists_each_pin_with_its_digests_and_licence(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"

    subprocess.run([CHECKOUT / ".ci/sbom", target], check=True)

    document = json.loads(target.read_text())
    listed = {
        (
            one["name"],
            one["version"],
            len(one["externalReferences"][0]["hashes"]),
            "expression" in one["licenses"][0],
        )
        for one in document["components"]
    }
    added = CHECKOUT / ".venv/extras"
    pins = licences.pins_of(*(added.read_text().split() if added.exists() else ()))
    assert listed == {(pin.name, pin.version, len(pin.sha256), True) for pin in pins}
    needed = {other for one in document["dependencies"] for other in one.get("dependsOn", ())}
    assert {"pkg:pypi/redis", "pkg:pypi/fido2"} <= {other.partition("@")[0] for other in needed}  # of extras

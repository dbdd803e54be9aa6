"""Which licence each package of requirements.txt and of the extras has, and whether pyproject.toml allows it.

    .venv/bin/python .ci/licences.py

A package says its licence itself, as an SPDX expression or by classifiers. Where it does not, or is not installed on
this machine, pyproject.toml states it.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
CLASSIFIER = "License :: "
OF_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-BSD",  # with an unknown number of clauses
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@dataclass(frozen=True)
class Pin:
    """A line of a list of ours: one release of a package, with the digests of its files."""

    name: str
    version: str
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """What pyproject.toml allows, and states of packages that do not say it."""

    allowed: frozenset[str]
    stated: dict[str, str]


class UnknownLicence(Exception):
    """A package says no licence that can be read; the text says why."""


def read_pins(text: str) -> list[Pin]:
    """Read the pins of a file with hashes, as `uv pip compile` writes it."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^\s;]+)", line):
            digests = tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", line)))
            found.append(Pin(canonicalize_name(match[1]), match[2], digests))
    return found


def pins_of(*extras: str) -> list[Pin]:
    """Return the pins of requirements.txt and of these extras, each once."""
    lists = [CHECKOUT / "requirements.txt", *(CHECKOUT / f".ci/extras/{extra}.txt" for extra in extras)]
    return list(dict.fromkeys(pin for path in lists for pin in read_pins(path.read_text())))


def every_extra() -> list[str]:
    """List the extras by name."""
    return sorted(path.stem for path in (CHECKOUT / ".ci/extras").glob("*.txt"))


def read_policy(text: str) -> Policy:
    """Read the policy of a pyproject.toml."""
    table = tomllib.loads(text)["tool"]["driftline"]["licences"]
    return Policy(frozenset(table["allowed"]), table["stated"])


def installed(found: Iterable[Distribution]) -> dict[str, Distribution]:
    """Return installed packages by their names."""
    return {canonicalize_name(one.metadata["Name"]): one for one in found}


def licence_of(name: str, distribution: Distribution | None, policy: Policy) -> str:
    """Return a package's licence as an SPDX expression; raises UnknownLicence."""
    if name in policy.stated:
        return canonicalize_license_expression(policy.stated[name])
    if distribution is None:
        raise UnknownLicence("is not installed here")
    stated = distribution.metadata.get("License-Expression") or distribution.metadata.get("License") or ""
    if stated:
        try:
            return canonicalize_license_expression(stated)
        except InvalidLicenseExpression:
            pass  # a name, or a whole text
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in distribution.metadata.get_all("Classifier") or []
        if line.startswith(CLASSIFIER) and line != "License :: OSI Approved"
    ]
    unknown = [line for line in classifiers if line not in OF_CLASSIFIER]
    if unknown or not classifiers:
        raise UnknownLicence(f"says {', '.join(unknown) or stated[:60] or 'none'}")
    return " AND ".join(sorted({OF_CLASSIFIER[line] for line in classifiers}))


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Tell whether an SPDX expression can be met with these licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)

    def one_of() -> bool:
        met = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = all_of() or met
        return met

    def all_of() -> bool:
        met = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = single() and met
        return met

    def single() -> bool:
        name = tokens.pop(0)
        if name == "(":
            met = one_of()
            tokens.pop(0)
            return met
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            name = f"{name} WITH {tokens.pop(0)}"
        return name in allowed

    return one_of()


def faults(pins: list[Pin], found: dict[str, Distribution], policy: Policy) -> Iterator[str]:
    """Name each package of which the licence is not allowed or not known, and what is stated for nothing."""
    for name in sorted({pin.name for pin in pins}):
        try:
            expression = licence_of(name, found.get(name), policy)
        except UnknownLicence as error:
            yield f"{name} {error}: state its licence under [tool.driftline.licences.stated]."
            continue
        if not is_allowed(expression, policy.allowed):
            yield f"{name} is under {expression}, which [tool.driftline.licences] does not allow."
    for name in sorted(policy.stated.keys() - {pin.name for pin in pins}):
        yield f"{name} has a stated licence and is in no list any more."


def main() -> int:
    """Print what is wrong; 1 where something is."""
    pins = pins_of(*every_extra())
    policy = read_policy((CHECKOUT / "pyproject.toml").read_text())
    wrong = list(faults(pins, installed(distributions()), policy))
    print("\n".join(wrong) if wrong else f"The licences of {len(pins)} pinned packages are allowed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Which pinned packages of requirements.txt and of the extras have known vulnerabilities, by a folder of advisories.

    .venv/bin/python .ci/advisories.py FOLDER

The folder holds advisories in the Open Source Vulnerability format (https://ossf.github.io/osv-schema), YAML or JSON:
a clone of PyPA's advisory-database, or the unpacked export that osv.dev makes of PyPI. The network is not read.
"""

import json
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from licences import Pin, every_extra, pins_of
from packaging.utils import canonicalize_name
from packaging.version import Version

Advisory = dict[str, Any]


def read_advisories(folder: Path) -> list[Advisory]:
    """Read the advisories that are in force; raises ValueError where a file cannot be read."""
    found = []
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.json"))):
        text = path.read_bytes()
        try:
            read = json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if isinstance(read, dict) and "affected" in read and "withdrawn" not in read:
            found.append(read)
    return found


def is_affected(version: str, affected: Advisory) -> bool:
    """Tell whether an entry of `affected` names a release, in its list or by one of its ranges."""
    if version in affected.get("versions", ()):
        return True
    return any(
        _is_within(Version(version), span["events"])
        for span in affected.get("ranges", ())
        if span["type"] in {"ECOSYSTEM", "SEMVER"}
    )


def _is_within(version: Version, events: list[dict[str, str]]) -> bool:
    """Tell whether a release lies between an event that introduces a fault and the one that ends it."""
    within = False
    for bound, kind in sorted(_bounds(events)):
        if kind == "introduced":
            within = within or version >= bound
        elif kind == "last_affected":
            within = within and version <= bound
        else:
            within = within and version < bound
    return within


def _bounds(events: list[dict[str, str]]) -> Iterator[tuple[Version, str]]:
    for event in events:
        for kind, bound in event.items():
            if bound != "*":  # a limit of nothing
                yield Version(bound), kind


def faults(pins: Iterable[Pin], advisories: Iterable[Advisory]) -> Iterator[str]:
    """Name each pinned release with a known vulnerability, and the releases that mend it."""
    of_package = defaultdict(list)
    for advisory in advisories:
        for affected in advisory["affected"]:
            if affected["package"]["ecosystem"] == "PyPI":
                of_package[canonicalize_name(affected["package"]["name"])].append((advisory, affected))
    for pin in pins:
        for advisory, affected in of_package[pin.name]:
            if is_affected(pin.version, affected):
                names = ", ".join((advisory["id"], *advisory.get("aliases", ())))
                yield f"{pin.name} {pin.version}: {names}; {_remedy(affected)}. {_summary(advisory)}"


def _remedy(affected: Advisory) -> str:
    fixed = [
        event["fixed"]
        for span in affected.get("ranges", ())
        if span["type"] != "GIT"
        for event in span["events"]
        if "fixed" in event
    ]
    return f"mended in {', '.join(fixed)}" if fixed else "not mended in any release"


def _summary(advisory: Advisory) -> str:
    return textwrap.shorten(
        str(advisory.get("summary") or advisory.get("details", "")), 200, placeholder=" ..."
    )


def main(folder: Path) -> int:
    """Print what is known to be vulnerable; 1 where something is, 2 where there are no advisories."""
    advisories = read_advisories(folder)
    if not advisories:
        print(
            f"{folder} holds no advisories. Clone PyPA's advisory-database, or unpack osv.dev's export of PyPI."
        )
        return 2
    pins = pins_of(*every_extra())
    found = list(faults(pins, advisories))
    newest = max(str(advisory["modified"]) for advisory in advisories)[:10]
    print(*found, sep="\n", end="\n" if found else "")
    print(
        f"Known vulnerabilities: {len(found)} in {len(pins)} pinned packages, by {len(advisories)} advisories."
    )
    print(f"The newest advisory is of {newest}; a vulnerability found since then is not among them.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

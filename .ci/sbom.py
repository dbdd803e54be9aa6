"""Writes the software bill of materials of what is installed as CycloneDX 1.6 JSON, valid by its schema.

    .ci/sbom [FILE]

That is requirements.txt with the extras that were added (`make extra`). Each package has its release, the digests of
its files and its licence; what needs what is read from the packages that are installed. The same lists give the same
document on one platform: no time is in it.
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from licences import CHECKOUT, Pin, Policy, installed, licence_of, pins_of, read_policy
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

VERSION = SchemaVersion.V1_6


def main(packages: Path, target: Path) -> None:
    """Write the document of what is pinned, with what `packages`, a folder of installed packages, says of it."""
    project_text = (CHECKOUT / "pyproject.toml").read_text()
    added = CHECKOUT / ".venv/extras"
    extras = added.read_text().split() if added.exists() else []
    project = tomllib.loads(project_text)
    asked = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["setup"],
        *(one for extra in extras for one in project["project"]["optional-dependencies"][extra]),
    ]
    bom = make_bom(
        pins_of(*extras),
        project["project"],
        asked,
        read_policy(project_text),
        installed(distributions(path=[str(packages)])),
    )
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)
    if error := JsonStrictValidator(VERSION).validate_str(text):
        sys.exit(f"The document is not valid: {error}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")
    print(f"{len(bom.components)} packages in {target}")


def make_bom(
    pins: list[Pin], project: dict[str, Any], asked: list[str], policy: Policy, found: dict[str, Distribution]
) -> Bom:
    """Return the document of these pins, which `asked` names the first of, without the time of its making."""
    digests = " ".join(digest for pin in pins for digest in pin.sha256)
    bom = Bom(serial_number=uuid5(NAMESPACE_OID, digests))
    bom.metadata.timestamp = None
    bom.metadata.component = root = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        licenses=[_licence(project["license"])],
    )
    of_name: dict[str, list[Component]] = {}
    for pin in pins:
        component = _component(pin, licence_of(pin.name, found.get(pin.name), policy))
        bom.components.add(component)
        of_name.setdefault(pin.name, []).append(component)

    needs = _needs(asked, found)
    for name, components in {"": [root], **of_name}.items():
        needed = [one for other in needs.get(name, ()) for one in of_name.get(other, ())]
        for component in components:
            bom.register_dependency(component, needed)
    return bom


def _needs(of_root: Iterable[str], found: dict[str, Distribution]) -> dict[str, set[str]]:
    """Return what each package needs, with the extras that are asked of it; of the root by an empty name."""
    needs: dict[str, set[str]] = {}
    waiting, seen = [("", "", text) for text in of_root], set[tuple[str, str]]()
    while waiting:
        name, extra, text = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        other = canonicalize_name(requirement.name)
        needs.setdefault(name, set()).add(other)
        for asked in {"", *requirement.extras}:
            if other in found and (other, asked) not in seen:
                seen.add((other, asked))
                waiting += [(other, asked, one) for one in found[other].requires or ()]
    return needs


def _component(pin: Pin, licence: str) -> Component:
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="the files of this release that may be installed",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.sha256],
    )
    return Component(
        name=pin.name,
        version=pin.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[_licence(licence)],
        external_references=[files],
    )


def _licence(expression: str) -> LicenseExpression:
    return LicenseExpression(expression, acknowledgement=LicenseAcknowledgement.DECLARED)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

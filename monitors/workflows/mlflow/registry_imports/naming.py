"""Names for registered models: MLflow takes almost any text, and here a name is part of addresses."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from driftline.base.errors import Problem
from inference.registry.services import check_model_name

MAX_LETTERS = 100
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ProposedName:
    """What a registered model may be called here; `fault` says why that is another name, or none."""

    name: str
    fault: str = ""


def propose_names(registered: Iterable[str]) -> dict[str, ProposedName]:
    """Propose a name for each registered model, no two of them the same; names that fit as they are come first."""
    proposed: dict[str, ProposedName] = {}
    owners: dict[str, str] = {}
    for one in sorted(set(registered), key=lambda name: (not _fits(name), name)):
        name = one if _fits(one) else _fitting(one)
        if not name:
            proposed[one] = ProposedName("", "No name here can be made of it; choose one.")
        elif name in owners:
            proposed[one] = ProposedName("", f"{owners[name]} is {name} here already; choose another name.")
        else:
            owners[name] = one
            proposed[one] = ProposedName(name, "" if name == one else f"It is called {name} here.")
    return proposed


def _fits(name: str) -> bool:
    try:
        check_model_name(name)
    except Problem:
        return False
    return True


def _fitting(name: str) -> str:
    """Replace what a name cannot have; empty where nothing remains."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    fitting = _OTHER.sub("-", plain).strip("-._")[:MAX_LETTERS]
    return fitting if fitting and _fits(fitting) else ""

"""Each package says what it is for, and the files that it names exist."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = [
    init.parent
    for folder in (
        "platform/driftline",
        "platform/driftline_agent",
        "platform/driftline_client",
        "inference",
        "monitors",
    )
    for init in sorted((CHECKOUT / folder).rglob("__init__.py"))
    if "migrations" not in init.parts
]

packages = pytest.mark.parametrize(
    "package", PACKAGES, ids=[str(package.relative_to(CHECKOUT)) for package in PACKAGES]
)


def docstring(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""


@packages
def test_has_a_docstring_of_3_to_15_lines(package: Path) -> None:
    assert 3 <= len(docstring(package).splitlines()) <= 15


@packages
def test_says_where_to_start_reading(package: Path) -> None:
    assert re.search(r"^Start with `", docstring(package), re.M)


@packages
def test_names_only_files_that_exist(package: Path) -> None:
    named = re.findall(r"`([\w/]+\.py)`", docstring(package))

    assert [name for name in named if not (package / name).exists()] == []

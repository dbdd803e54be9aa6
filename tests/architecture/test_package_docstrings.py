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


def test_each_says_what_it_is_for_and_where_to_start(subtests: pytest.Subtests) -> None:
    for package in PACKAGES:
        with subtests.test(str(package.relative_to(CHECKOUT))):
            docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""

            assert 3 <= len(docstring.splitlines()) <= 15
            assert re.search(r"^Start with `", docstring, re.M)
            named = re.findall(r"`([\w/]+\.py)`", docstring)
            assert [name for name in named if not (package / name).exists()] == []

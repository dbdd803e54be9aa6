"""The product's sources, parsed once for all rules about them."""

import ast
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def product_trees() -> dict[Path, ast.Module]:
    """Return the syntax tree of each Python file of the product by its path in the checkout."""
    return {
        path.relative_to(CHECKOUT): ast.parse(path.read_text())
        for folder in ("platform", "inference", "monitors")
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    }

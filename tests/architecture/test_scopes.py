"""Scopes are named by `Scope` alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.base.accounts.access.scopes import Role, Scope
from tests.architecture.sources import product_trees

TABLE = Path("platform/driftline/base/accounts/access/scopes.py")
CHECKS = {"Scoped", "ScopedByUrl", "require", "authenticate"}


def names_scope(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in list(Scope)


def called_name(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_about_scopes(node: ast.AST) -> bool:
    name = getattr(node, "attr", getattr(node, "id", getattr(node, "arg", None)))
    return isinstance(name, str) and "scope" in name.lower()


def literal_scopes(tree: ast.AST) -> Iterator[int]:
    """Yield the line of each string that stands where a `Scope` belongs.

    A word such as `label` may be a column as well, so a string counts where it is given to a check or something named
    after scopes, or where it is compared with one, and in a collection of nothing but scopes.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call() if called_name(node) in CHECKS:
                places = [*node.args, *(keyword.value for keyword in node.keywords)]
            case ast.Compare() if any(map(is_about_scopes, [node.left, *node.comparators])):
                places = [node.left, *node.comparators]
            case ast.keyword() | ast.arg() if is_about_scopes(node):
                places = list(ast.walk(node))
            case ast.Assign() if any(map(is_about_scopes, node.targets)):
                places = list(ast.walk(node.value))
            case ast.AnnAssign() if is_about_scopes(node.target) and node.value:
                places = list(ast.walk(node.value))
            case ast.List() | ast.Set() | ast.Tuple() if node.elts and all(map(names_scope, node.elts)):
                places = node.elts if isinstance(node, ast.Set) or len(node.elts) > 1 else []
            case ast.Dict() if len(node.keys) > 1 and all(key and names_scope(key) for key in node.keys):
                places = [key for key in node.keys if key]
            case _:
                continue
        yield from (place.lineno for place in places if names_scope(place))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        'auth=Scoped("read")',
        'caller.require("label")',
        'table.authenticate(authorization, "infer", "read")',
        '"write" in self.scopes',
        'create_token(scopes=["log", "label"])',
        'USUAL_SCOPES = ["infer"]',
        'ROLES = {"viewer": frozenset({"read"})}',
        'MEANINGS = {"infer": "ask", "log": "log"}',
    ],
)
def test_a_planted_literal_is_found(source: str) -> None:
    assert list(literal_scopes(ast.parse(source)))


@pytest.mark.slow
def test_no_source_names_a_scope_by_a_literal() -> None:
    sources = {
        path: tree
        for path, tree in product_trees().items()
        if path != TABLE and not {"migrations", "driftline_agent", "driftline_client"} & set(path.parts)
    }

    found = [f"{path}:{line}" for path, tree in sources.items() for line in literal_scopes(tree)]

    assert len(sources) > 500
    assert found == []


def test_each_role_has_what_a_lesser_role_has() -> None:
    viewer, editor, admin = ({scope for scope in Scope if role in scope.roles} for role in Role)

    assert viewer < editor < admin == set(Scope)

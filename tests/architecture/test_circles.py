"""No two modules of the product import each other, however long the way round, not even for a type hint."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

from tests.architecture.sources import product_trees


def modules() -> dict[str, ast.Module]:
    """Return the product's modules by the names that import them; `platform` is a folder on the path, no package."""
    found = {}
    for path, tree in product_trees().items():
        parts = path.with_suffix("").parts[path.parts[0] == "platform" :]
        found[".".join(parts).removesuffix(".__init__")] = tree
    return found


MODULES = modules()


def imported(tree: ast.Module) -> Iterator[str]:
    """List the product's modules that one imports, at its top or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                name = full if full in MODULES else node.module
                if name in MODULES:
                    yield name


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imported(tree)) for name, tree in MODULES.items()}

    TopologicalSorter(graph).prepare()  # CycleError names the modules in order

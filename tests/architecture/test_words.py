"""Names are the field's words, and each has one meaning."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = [ROOT / name for name in ("platform/driftline", "inference", "monitors")]

BANNED = {
    "apart", "breathe", "desk", "give", "go_on", "gone", "keeper", "letting_go", "standing", "standings",
    "told", "told_against", "let_go",
    "whose", "wish",
}  # fmt: skip
"""Participles and riddles that say nothing of what they name."""
ALLOWED = {
    # The column of a rule's state, which the API shows.
    ("monitors/rules/models.py", "standing"),
    ("monitors/rules/models.py", "Standing"),
    ("monitors/rules/schemas.py", "standing"),
    ("monitors/alerts/channels/webhook/transport.py", "GONE"),  # the status of HTTP
}
BOUNDS = re.compile(r"^_?(MOST|LEAST|LONGEST|SHORTEST|FEWEST|LARGEST|SMALLEST)_")


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the path and the syntax tree of each file that people wrote."""
    for folder in PRODUCT:
        for path in sorted(folder.rglob("*.py")):
            if "migrations" not in path.parts and not path.name.endswith("_pb2.py"):
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield every name that is given: of functions, classes, arguments and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def classes_by_name() -> dict[str, list[str]]:
    """Return where each class of a module stands; commands are all named Command, as Django wants."""
    places = defaultdict(list)
    for path, tree in sources():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name != "Command":
                places[node.name].append(path)
    return places


def test_no_name_is_a_banned_word() -> None:
    found = {
        (path, name) for path, tree in sources() for name in names_in(tree) if name.lower() in BANNED
    } - ALLOWED

    assert found == set()


def test_no_two_public_classes_share_a_name() -> None:
    shared = {
        name: places
        for name, places in classes_by_name().items()
        if len(places) > 1 and not name.startswith("_")
    }

    assert shared == {}


def test_bounds_are_named_max_and_min() -> None:
    found = {(path, name) for path, tree in sources() for name in names_in(tree) if BOUNDS.match(name)}

    assert found == set()


def test_no_two_modules_side_by_side_differ_in_one_letter() -> None:
    folders = defaultdict(set)
    for path, _ in sources():
        folders[Path(path).parent].add(Path(path).stem)

    near = {
        (str(folder), one, other)
        for folder, modules in folders.items()
        for one, other in combinations(sorted(modules), 2)
        if one + "s" == other or one == other + "s"
    }

    assert near == set()

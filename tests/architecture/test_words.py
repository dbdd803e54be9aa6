"""Names are the field's words, and each has one meaning."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from tests.architecture.sources import product_trees

ROOT = Path(__file__).parents[2]
PRODUCT = [ROOT / name for name in ("platform/driftline", "inference", "monitors")]

BANNED = {
    "apart", "breathe", "desk", "give", "go_on", "gone", "keeper", "letting_go", "standing", "standings",
    "told", "told_against", "let_go",
    "whose", "wish",
}  # fmt: skip
"""Participles and riddles that say nothing of what they name."""
SERVING = ("inference/protocol/", "inference/runtime/", "inference/serving/")
BANNED_IN_SERVING = {"asked", "found", "left", "said", "taken"}
ALLOWED = {
    # The column of a rule's state, which the API shows.
    ("monitors/rules/models.py", "standing"),
    ("monitors/rules/models.py", "Standing"),
    ("monitors/rules/schemas.py", "standing"),
    ("inference/runtime/providers.py", "asked"),  # what status files call the provider of a version
    ("inference/registry/intake/report.py", "least"),  # of a report that the API shows
}
PLAN = re.compile(r"""\b[Pp]romises? \d|\bStep \d+:|\bDESIGN\b|["'(]P\d+\b|\bthe roof\b""")
"""Numbers and names of a plan that no reader has."""
BOUNDS = re.compile(r"^_?(MOST|LEAST|LONGEST|SHORTEST|FEWEST|LARGEST|SMALLEST)_")
BOUNDS_IN_INFERENCE = re.compile(r"^_?(most|least)(_|$)")

VAGUE = re.compile(r"(Gives?|Tells?|Says?|Ha(s|ve)|Lets?)\b")
"""Verbs that say neither what is returned nor what is done."""

type Source = tuple[str, ast.Module]


@cache
def sources() -> list[Source]:
    """Return the path and the syntax tree of each file that people wrote."""
    return [
        (str(path), tree)
        for path, tree in product_trees().items()
        if not {"migrations", "driftline_agent", "driftline_client"} & set(path.parts)
        and not path.name.endswith("_pb2.py")
    ]


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield every name that is given: of functions, classes, arguments and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def banned_names(sources: Iterable[Source]) -> set[tuple[str, str]]:
    """Return the names that are banned words, with their files."""
    return {
        (path, name)
        for path, tree in sources
        for name in names_in(tree)
        if name.lower() in BANNED or (path.startswith(SERVING) and name.lower() in BANNED_IN_SERVING)
    } - ALLOWED


def shared_classes(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Return the public classes that share a name; commands are all named Command, as Django wants."""
    places = defaultdict(list)
    for path, tree in sources:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name != "Command" and not node.name.startswith("_"):
                places[node.name].append(path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def strange_bounds(sources: Iterable[Source]) -> set[tuple[str, str]]:
    """Return the names of bounds that are neither max nor min, with their files."""
    return {
        (path, name)
        for path, tree in sources
        for name in names_in(tree)
        if BOUNDS.match(name) or (path.startswith("inference/") and BOUNDS_IN_INFERENCE.match(name))
    } - ALLOWED


def near_modules(paths: Iterable[str]) -> set[tuple[str, str, str]]:
    """Return the modules side by side that differ in one letter, with their folder."""
    folders = defaultdict(set)
    for path in paths:
        folders[str(Path(path).parent)].add(Path(path).stem)
    return {
        (folder, one, other)
        for folder, modules in folders.items()
        for one, other in combinations(sorted(modules), 2)
        if one + "s" == other
    }


def vague_docstrings(sources: Iterable[Source]) -> set[tuple[str, str]]:
    """Return the docstrings that begin with a verb that says nothing of what is done, with their files."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        (path, docstring.splitlines()[0])
        for path, tree in sources
        for node in ast.walk(tree)
        if isinstance(node, described) and (docstring := ast.get_docstring(node))
        if VAGUE.match(docstring)
    }


class TestTheTree:
    @pytest.mark.slow
    def test_has_no_name_that_is_a_banned_word(self) -> None:
        assert banned_names(sources()) == set()

    @pytest.mark.slow
    def test_has_no_two_public_classes_of_one_name(self) -> None:
        assert shared_classes(sources()) == {}

    @pytest.mark.slow
    def test_names_bounds_max_and_min(self) -> None:
        assert strange_bounds(sources()) == set()

    @pytest.mark.slow
    def test_says_in_docstrings_what_is_returned_or_done(self) -> None:
        assert vague_docstrings(sources()) == set()

    def test_has_no_two_modules_side_by_side_that_differ_in_one_letter(self) -> None:
        assert near_modules(path for path, _ in sources()) == set()

    @pytest.mark.slow
    def test_names_a_thing_and_not_its_number_in_a_plan(self) -> None:
        folders = [*PRODUCT, ROOT / "docs", ROOT / "templates", ROOT / "tests"]
        texts = [
            path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".html")
        ]

        mentions = {
            (str(path.relative_to(ROOT)), match.group())
            for path in texts
            if path != Path(__file__)
            for match in PLAN.finditer(path.read_text())
        }

        assert mentions == set()


class TestPlanted:
    """What each rule is for is noticed where it is planted."""

    @pytest.mark.parametrize(
        ("path", "source"),
        [
            *(("monitors/a.py", f"{word} = 1") for word in sorted(BANNED)),
            ("monitors/a.py", "def desk(): ..."),
            ("monitors/a.py", "class Standing: ..."),
            ("monitors/a.py", "def read(*, keeper): ..."),
            ("inference/serving/a.py", "for found in rows: ..."),
        ],
    )
    def test_a_banned_word_is_noticed(self, path: str, source: str) -> None:
        assert len(banned_names([(path, ast.parse(source))])) == 1

    def test_two_classes_of_one_name_are_noticed(self) -> None:
        tree = ast.parse("class Outcome: ...")

        shared = shared_classes([("inference/a.py", tree), ("monitors/a.py", tree)])

        assert shared == {"Outcome": ["inference/a.py", "monitors/a.py"]}

    @pytest.mark.parametrize(
        ("path", "source"),
        [("monitors/a.py", "MOST_ROWS = 5"), ("inference/a.py", "def read(most_rows): ...")],
    )
    def test_a_bound_of_another_name_is_noticed(self, path: str, source: str) -> None:
        assert len(strange_bounds([(path, ast.parse(source))])) == 1

    @pytest.mark.parametrize("verb", ["Give", "Tells", "Say", "Have", "Lets"])
    def test_a_docstring_that_says_nothing_of_what_is_done_is_noticed(self, verb: str) -> None:
        tree = ast.parse(f'def read():\n    """{verb} the rows."""')

        assert vague_docstrings([("monitors/a.py", tree)]) == {("monitors/a.py", f"{verb} the rows.")}

    def test_modules_that_differ_in_one_letter_are_noticed(self) -> None:
        near = near_modules(["monitors/service.py", "monitors/services.py", "inference/service.py"])

        assert near == {("monitors", "service", "services")}

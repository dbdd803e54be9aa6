"""Counts the size and shape of a checkout: `python -m tests.architecture.counts [FOLDER]`, this one by default."""

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PRODUCT = ("manage.py", "platform", "inference", "monitors")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    for what, number in counts(root):
        print(f"{what:45} {number:>12}")


def counts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield what is counted, and the number."""
    product = [path for place in PRODUCT for path in _sources(root / place)]
    tests = list(_sources(root / "tests"))
    templates = [path for path in sorted((root / "templates").rglob("*")) if path.suffix in (".html", ".txt")]
    trees = {path: ast.parse(path.read_text()) for path in product}
    lengths = {
        f"{path.relative_to(root)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path, tree in trees.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longest = max(lengths, key=lambda name: lengths[name])
    classes = Counter(
        node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    shared = sorted(
        name for name, count in classes.items() if count > 1 and name not in ("Meta", "Migration")
    )
    undocumented = [path for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    lines = [line for path in templates for line in path.read_text().splitlines()]
    yield "product: files", f"{len(product):,}"
    yield "product: lines", f"{_lines(product):,}"
    yield "tests: files", f"{len(tests):,}"
    yield "tests: lines", f"{_lines(tests):,}"
    yield "median function, lines", f"{statistics.median(lengths.values()):g}"
    yield f"longest function, lines ({longest})", f"{lengths[longest]:,}"
    yield "modules without a docstring", f"{len(undocumented):,}"
    yield "names that several classes share", f"{len(shared):,}"
    yield "templates: lines", f"{len(lines):,}"
    yield "templates: longest line, characters", f"{max(map(len, lines)):,}"
    yield "README.md, bytes", f"{(root / 'README.md').stat().st_size:,}"


def _sources(place: Path) -> Iterator[Path]:
    """Yield the Python files that people wrote."""
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    for path in files:
        if "migrations" not in path.parts and not path.name.endswith("_pb2.py"):
            yield path


def _lines(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


if __name__ == "__main__":
    main()

"""Folders and files of the product stay small enough to be read at once."""

from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
MAX_MODULES, MAX_LINES = 16, 500
EXEMPT = ("monitors/stats/", "inference/serving/engine/", "platform/driftline/management/commands/")
"""Kernels, the engine, and commands, which Django wants in one folder; what is generated is left out as well."""


def product() -> list[Path]:
    files = [
        path for root in ("platform", "inference", "monitors") for path in (CHECKOUT / root).rglob("*.py")
    ]
    named = [path.relative_to(CHECKOUT) for path in files]
    return [
        path
        for path in named
        if not str(path).startswith(EXEMPT) and "migrations" not in path.parts and "_pb2" not in path.name
    ]


def test_no_folder_has_more_modules_than_fit_in_one_head() -> None:
    modules = Counter(path.parent for path in product() if path.name != "__init__.py")

    assert {str(folder): n for folder, n in modules.items() if n > MAX_MODULES} == {}


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lines = {str(path): len((CHECKOUT / path).read_text().splitlines()) for path in product()}

    assert {path: n for path, n in lines.items() if n > MAX_LINES} == {}

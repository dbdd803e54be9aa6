"""The README is the front door and docs/ the rest: what they name must be there."""

import re
from pathlib import Path

import pytest

from driftline.settings.environment import every_setting

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"
PAGES = [README, *sorted((CHECKOUT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(CHECKOUT)) for page in PAGES])


def links(page: Path) -> list[Path]:
    """The files that a page links to or shows."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    return [page.parent / target for target in targets if "://" not in target]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert README.stat().st_size <= 8192


def test_every_setting_is_described() -> None:
    reference = (CHECKOUT / "docs/reference/settings.md").read_text()

    assert [s.name for s in every_setting() if f"`{s.name}`" not in reference] == []


@pages
def test_each_link_leads_to_a_file(page: Path) -> None:
    assert [str(target) for target in links(page) if not target.exists()] == []


def test_each_page_is_reached_from_the_index() -> None:
    reached = {target.resolve() for target in links(CHECKOUT / "docs/index.md")}

    assert [str(page) for page in PAGES if page not in reached and page.name != "index.md"] == []


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"`(Makefile|tests/[\w/]+(?:\.py)?(?:::\w+)*)`", TEXT)))
)
def test_each_test_that_is_named_exists(target: str) -> None:
    path, *names = target.split("::")

    assert (CHECKOUT / path).exists()
    text = (CHECKOUT / path).read_text() if names else ""
    assert all(f"class {name}" in text or f"def {name}" in text for name in names)


def test_each_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"`make ([\w-]+)", TEXT)) | set(re.findall(r"^make ([\w-]+)", TEXT, re.M))
    defined = set(re.findall(r"^(\w[\w-]*):", (CHECKOUT / "Makefile").read_text(), re.M))

    assert targets
    assert targets <= defined

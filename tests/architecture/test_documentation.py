"""The README is the front door and docs/ the rest; Sphinx checks what pages of docs/ say of each other."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"
PAGES = [README, *sorted((CHECKOUT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def links(page: Path) -> list[tuple[str, Path]]:
    """The text and the target of each link to a file."""
    found = re.findall(r"\[([^\]]*)\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    return [(text, page.parent / target) for text, target in found if "://" not in target]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert README.stat().st_size <= 8192


def test_each_link_of_the_readme_leads_to_a_file() -> None:
    assert [str(target) for _, target in links(README) if not target.exists()] == []


def test_what_a_page_names_in_a_file_is_in_it(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        with subtests.test(str(page.relative_to(CHECKOUT))):
            names = [
                (text.strip("`"), target)
                for text, target in links(page)
                if target.suffix == ".py" and re.fullmatch(r"`\w+`", text)
            ]

            assert [
                f"{name} in {target}"
                for name, target in names
                if not re.search(
                    rf"^\s*(?:class |def |async def )?{name}\b", target.read_text(), re.MULTILINE
                )
            ] == []


def test_each_test_that_is_named_exists(subtests: pytest.Subtests) -> None:
    for target in sorted(set(re.findall(r"`(Makefile|tests/[\w/]+(?:\.py)?(?:::\w+)*)`", TEXT))):
        with subtests.test(target):
            path, *names = target.split("::")

            assert (CHECKOUT / path).exists()
            text = (CHECKOUT / path).read_text() if names else ""
            assert all(f"class {name}" in text or f"def {name}" in text for name in names)


def test_tests_are_named_by_their_whole_path() -> None:
    assert re.findall(r"`(test_\w+\.py)\b", TEXT) == []


def test_each_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"`make ([\w-]+)", TEXT)) | set(re.findall(r"^make ([\w-]+)", TEXT, re.M))
    defined = set(re.findall(r"^(\w[\w-]*):", (CHECKOUT / "Makefile").read_text(), re.M))

    assert targets
    assert targets <= defined

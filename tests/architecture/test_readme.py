"""The README is the front door: what it names must be there."""

import re
from pathlib import Path

import pytest

from driftline.settings.environment import every_setting

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()


def test_names_every_setting() -> None:
    missing = [setting.name for setting in every_setting() if f"`{setting.name}`" not in README]

    assert missing == []


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"`(Makefile|tests/[\w/]+(?:\.py)?(?:::\w+)*)`", README)))
)
def test_each_test_that_it_names_exists(target: str) -> None:
    path, *names = target.split("::")

    assert (CHECKOUT / path).exists()
    text = (CHECKOUT / path).read_text() if names else ""
    assert all(f"class {name}" in text or f"def {name}" in text for name in names)


@pytest.mark.parametrize("image", re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
def test_each_picture_that_it_shows_exists(image: str) -> None:
    assert (CHECKOUT / image).exists()


def test_each_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"`make (\w+)", README)) | set(re.findall(r"^make (\w+)", README, re.M))
    defined = set(re.findall(r"^(\w[\w-]*):", (CHECKOUT / "Makefile").read_text(), re.M))

    assert targets
    assert targets <= defined

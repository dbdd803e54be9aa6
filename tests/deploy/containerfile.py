"""The Containerfile, as a builder reads it."""

from tests.deploy.places import DEPLOY

CONTAINERFILE = DEPLOY / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """List the instructions with their words, comments left out and lines joined."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def words_after(name: str) -> list[str]:
    """List the words of each instruction of this name."""
    return [words for found, words in instructions() if found == name]

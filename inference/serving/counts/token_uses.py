"""Which tokens a process let in to ask models, for the log to say when each was last used."""

NOTED_EVERY_SECONDS = 60.0


class TokenUses:
    """Tokens by their digests, each noted once a minute; belongs to the event loop."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._noted: dict[str, float] = {}  # within the last minute

    def add(self, digest: str) -> None:
        """Note that a token was let in."""
        self._used.add(digest)

    def take(self, now: float) -> dict[str, float]:
        """Return the tokens that were used and are due to be noted, with the time `now`."""
        used, self._used = self._used, set()
        self._noted = {
            digest: moment for digest, moment in self._noted.items() if now - moment < NOTED_EVERY_SECONDS
        }
        due = dict.fromkeys(used - self._noted.keys(), now)
        self._noted |= due
        return due

    def give_back(self, due: dict[str, float]) -> None:
        """Take back what could not be noted; the next `take` returns it again."""
        for digest in due:
            self._noted.pop(digest, None)
            self._used.add(digest)

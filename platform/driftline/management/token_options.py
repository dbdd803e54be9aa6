"""What the commands for tokens have in common: networks, and the overlap of a rotation."""

from argparse import ArgumentParser
from datetime import datetime

from driftline.base.accounts.services import MAX_OVERLAP_HOURS, OVERLAP_HOURS

NETWORKS = (
    "networks such as 203.0.113.0/24,2001:db8::/32, separated by commas, from which alone it may be used"
)


def add_overlap(parser: ArgumentParser) -> None:
    """Add to a command the option how long the old secret stays valid."""
    parser.add_argument(
        "--overlap-hours",
        type=int,
        default=OVERLAP_HOURS,
        help=f"how long the old secret stays valid, at most {MAX_OVERLAP_HOURS}; 0: it ends at once "
        f"(default {OVERLAP_HOURS})",
    )


def describe_end(until: datetime | None) -> str:
    """Return when an old secret ends."""
    return f"at {until:%Y-%m-%d %H:%M} UTC" if until else "now"


def split_networks(text: str) -> list[str]:
    """Split networks at commas."""
    return [network for network in text.split(",") if network]

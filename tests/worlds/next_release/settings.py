"""Today's settings with the migrations of the next release."""

from driftline.settings import *  # noqa: F403
from tests.worlds.next_release import MIGRATIONS

MIGRATION_MODULES = MIGRATIONS

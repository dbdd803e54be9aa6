"""The fixtures of attacks on a whole installation."""

from tests.flows.installation.conftest import home_of_its_own, installation, tell

__all__ = ["home_of_its_own", "installation", "tell"]

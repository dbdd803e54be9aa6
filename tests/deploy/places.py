"""Where the files of deployments are."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "platform" / "deploy"

"""Who the device is: what its enrolment gave, in a file that its user alone can read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from driftline_agent.durable_files import write_file
from driftline_agent.errors import AgentError


@dataclass(frozen=True)
class Identity:
    """The server's address, the device's names and token, and the key that signs its manifests (base64)."""

    url: str
    device: str
    group: str
    token: str
    public_key: str
    enrolled_ms: int
    """The server's time of the enrolment, in milliseconds: no prediction is older."""


def read_identity(home: Path) -> Identity:
    """Read who the device is; raises AgentError where it was not enrolled."""
    try:
        return Identity(**json.loads(_path_of(home).read_text()))
    except FileNotFoundError:
        raise AgentError(f"{home} has no device; enrol it: driftline-agent enrol URL CODE") from None
    except (ValueError, TypeError) as error:
        raise AgentError(f"{_path_of(home)} cannot be read ({error}); enrol the device anew.") from error


def store_identity(home: Path, identity: Identity) -> None:
    """Keep who the device is, in place of who it was before."""
    write_file(_path_of(home), json.dumps(asdict(identity), indent=2).encode())


def _path_of(home: Path) -> Path:
    return home / "device.json"

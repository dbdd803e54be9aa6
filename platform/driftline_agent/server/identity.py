"""Who the device is: what its enrolment gave, in a file that its user alone can read."""

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from driftline_agent.durable_files import write_file
from driftline_agent.errors import AgentError


@dataclass(frozen=True)
class Identity:
    """The server's address, the device's names and token, and the key that signs its manifests (base64).

    That key may be a successor of the enrolment's, of which `key_number` is the number. Versions on the disk may still
    have the signatures of `former_keys`.
    """

    url: str
    device: str
    group: str
    token: str
    public_key: str
    enrolled_ms: int
    """The server's time of the enrolment, in milliseconds: no prediction is older."""
    key_number: int = 0
    former_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The key that signs manifests, and those that did."""
        return (self.public_key, *self.former_keys)


def read_identity(home: Path) -> Identity:
    """Read who the device is; raises AgentError where it was not enrolled."""
    try:
        identity = Identity(**json.loads(_path_of(home).read_text()))
        return replace(identity, former_keys=tuple(identity.former_keys))
    except FileNotFoundError:
        raise AgentError(f"{home} has no device; enrol it: driftline-agent enrol URL CODE") from None
    except (ValueError, TypeError) as error:
        raise AgentError(f"{_path_of(home)} cannot be read ({error}); enrol the device anew.") from error


def store_identity(home: Path, identity: Identity) -> None:
    """Keep who the device is, in place of who it was before."""
    document = asdict(identity)
    if not identity.key_number:  # an agent of an earlier release reads it too
        del document["key_number"], document["former_keys"]
    write_file(_path_of(home), json.dumps(document, indent=2).encode())


def enrolment_key(home: Path) -> str:
    """Return the secret with which an enrolment is asked for again, until `forget_enrolment_key`."""
    path = _key_path_of(home)
    if not path.exists():
        write_file(path, secrets.token_hex(32).encode())
    return path.read_text()


def forget_enrolment_key(home: Path) -> None:
    """Note that the answer of the enrolment is kept."""
    _key_path_of(home).unlink(missing_ok=True)


def _key_path_of(home: Path) -> Path:
    return home / "enrolment.key"


def _path_of(home: Path) -> Path:
    return home / "device.json"

"""A group of devices with versions that can be checked by eye: version N answers N times x."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from django.conf import settings
from django.test import Client

from driftline.base.accounts.models import Project
from inference.edge.enrolment import create_device, enrol
from inference.edge.groups import create_group
from inference.edge.models import Device, DeviceGroup, Release
from inference.edge.releases import DEFAULT_RINGS, start_release
from inference.registry.models import Model, Version
from inference.registry.services import create_model
from inference.signatures import Signature
from tests.inference.onnx_models import linear_model, linear_signature


def make_group(project: Project, name: str = "trucks", model: str = "fuel") -> DeviceGroup:
    """Make a model of one feature, x, and a group that answers for it."""
    made = create_model(project=project, name=model, task="regression", actor="test")
    return create_group(model=made, name=name, actor="test")


def add_version(
    model: Model, version: str, content: bytes | None = None, signature: Signature | None = None
) -> Version:
    """Store a version with its file; it answers as many times x as its name says, unless another file is given."""
    content = content or linear_model(float(version), 0.0)
    sha256 = hashlib.sha256(content).hexdigest()
    path = settings.HOME / "artifacts" / f"{sha256}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Version.objects.create(
        model=model,
        version=version,
        sha256=sha256,
        size=len(content),
        path=f"artifacts/{path.name}",
        signature=msgspec.to_builtins(signature or linear_signature()),
    )


def release(
    group: DeviceGroup, version: str, content: bytes | None = None, *, rings: Sequence[int] = DEFAULT_RINGS
) -> Release:
    """Store a version with its file, and release it."""
    add_version(group.model, version, content)
    return start_release(
        group=group, version=version, rings=rings, actor="a@example.com", now=datetime.now(UTC)
    )


@dataclass(frozen=True)
class Agent:
    """What an agent says over HTTP, with the token of its device."""

    device: Device
    token: str
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def get(self, path: str, **headers: str) -> Any:
        return self._send("GET", path, None, headers)

    def post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body, {})

    def poll(self) -> dict[str, Any] | None:
        """Read the manifest of the assignment; None where there is none."""
        answer = self.get("assignment")
        return orjson.loads(answer.json()["manifest"]) if answer.status_code == 200 else None

    def assigned(self) -> str | None:
        """Read which version is assigned."""
        manifest = self.poll()
        return manifest and manifest["version"]

    def report(self, failure: str = "") -> None:
        """Say that the device answers with what is assigned, or why it does not."""
        manifest = self.poll()
        assert manifest is not None
        version = "" if failure else manifest["version"]
        answer = self.post("status", {"release": manifest["release"], "version": version, "failure": failure})
        assert answer.status_code == 200, answer.content

    def send(self, *sequences: int, version: str = "1", **changes: Any) -> Any:
        """Send rows with these numbers."""
        return self.post("rows", {"predictions": [self.row(one, version, **changes) for one in sequences]})

    def row(self, sequence: int, version: str = "1", **changes: Any) -> dict[str, Any]:
        tags = {"device": self.device.name, "device_group": self.device.group.name}
        row = {
            "id": f"{self.device.name}-{sequence}",
            "timestamp": "2026-01-05T10:00:00Z",
            "version": version,
            "features": {"x": 1.0},
            "prediction": 2.0,
            "tags": tags,
        }
        return row | changes

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        content = b"" if body is None else orjson.dumps(body)
        url = f"/api/v1/devices/self/{path}"
        return self.client.generic(method, url, content, "application/json", headers=sent)


def add_agent(group: DeviceGroup, name: str) -> Agent:
    """Make a device and enrol it."""
    now = datetime.now(UTC)
    _, code = create_device(group=group, name=name, actor="test", now=now)
    enrolled = enrol(code=code, agent="0.1.0", machine="Linux x86_64", now=now)
    assert enrolled is not None
    return Agent(*enrolled)


def add_agents(group: DeviceGroup, count: int) -> list[Agent]:
    return [add_agent(group, f"truck{number}") for number in range(count)]

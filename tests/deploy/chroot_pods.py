"""Starts containers of the chart in the chroot of the image, as Kubernetes would, as far as one machine can.

Each has namespaces of its own for processes, mounts and names, the network of a machine of the tests, a root that is
mounted read-only, the chart's user without capabilities, and the chart's volumes, environment and command. What this
does not have: control groups (limits of memory), the filter of system calls of a container engine, and an overlay.
"""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.chroot_image import Stage
from tests.flows.installation.machines import Machine

ENTER = """
set -e
root=$1 name=$2
shift 2
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 3
done
shift
mount -o remount,bind,ro "$root"
hostname "$name"
exec /usr/sbin/chroot "$root" "$@"
"""


@dataclass
class Cluster:
    """What the pods find: the image, volumes by name, and Secrets."""

    image: Stage
    folder: Path
    secrets: dict[str, dict[str, str]]

    def start(
        self, machine: Machine, name: str, pod: dict[str, Any], container: dict[str, Any], words: list[str]
    ) -> "Container":
        """Start a command in a container of a pod named `name`; what it prints goes to a file of that name."""
        log = self.folder / f"{name}-{container['name']}.log"
        with log.open("ab") as output:
            process = machine.start(
                self._command(pod, container, name, words),
                self._environment(machine, container, name),
                output,
            )
        return Container(process, log)

    def _command(
        self, pod: dict[str, Any], container: dict[str, Any], name: str, words: list[str]
    ) -> list[str]:
        user = str(pod["securityContext"]["runAsUser"])
        group = str(pod["securityContext"]["runAsGroup"])
        return [
            *("/usr/bin/unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
            *("/bin/sh", "-c", ENTER, "sh", str(self.image.root), name),
            *self._mounts(pod, container, name),
            *("--", "/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}"),
            f"--groups={pod['securityContext']['fsGroup']}",
            *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
            *("/usr/bin/env", f"--chdir={self.image.folder}", *words),
        ]

    def _environment(self, machine: Machine, container: dict[str, Any], name: str) -> dict[str, str]:
        given: dict[str, str] = {}
        for one in container["env"]:
            source = one.get("valueFrom", {})
            if "secretKeyRef" in source:
                given[one["name"]] = self.secrets[source["secretKeyRef"]["name"]][
                    source["secretKeyRef"]["key"]
                ]
            elif "fieldRef" in source:
                given[one["name"]] = machine.address
            else:
                given[one["name"]] = re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], one["value"])
        return self.image.environment | {"HOSTNAME": name} | given

    def _mounts(self, pod: dict[str, Any], container: dict[str, Any], name: str) -> Iterator[str]:
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in container["volumeMounts"]:
            folder = self._volume(volumes.get(mount["name"], {}), mount["name"], name, pod)
            yield from (str(folder), mount["mountPath"], "ro" if mount.get("readOnly") else "rw")

    def _volume(self, volume: Mapping[str, Any], kind: str, name: str, pod: dict[str, Any]) -> Path:
        """Make a volume as Kubernetes does: it belongs to root, and to the pod's group."""
        if "persistentVolumeClaim" in volume:
            folder = self.folder / "volumes" / volume["persistentVolumeClaim"]["claimName"]
        else:
            folder = self.folder / "volumes" / f"{name}-{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        group = pod["securityContext"]["fsGroup"]
        if "secret" in volume:
            for key, text in self.secrets[volume["secret"]["secretName"]].items():
                (folder / key).write_text(text)
                os.chown(folder / key, 0, group)
                (folder / key).chmod(volume["secret"]["defaultMode"])
        os.chown(folder, 0, group)
        folder.chmod(0o1777 if "emptyDir" in volume else 0o2770)
        return folder


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, seconds: float = 300) -> int:
        """Return its exit code once it has ended."""
        return self.process.wait(seconds)

    def stop(self, seconds: float) -> int:
        """Ask its first process to end, as Kubernetes does, and return the exit code; raises TimeoutExpired."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it at once, with everything that it started."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(60)


def words_of(container: dict[str, Any], image: Stage) -> list[str]:
    """Return what the container runs: its own command, or the image's entry point with its arguments."""
    entry = re.findall(r'"([^"]*)"', image.starting["ENTRYPOINT"])
    return [*container.get("command", entry), *container.get("args", ())]


def health_command(image: Stage) -> list[str]:
    """Return the words of the image's health check."""
    command = image.starting["HEALTHCHECK"].partition(" CMD ")[2]
    return [word for word in shlex.split(command.strip().strip("[]").replace(",", " , ")) if word != ","]


@contextmanager
def all_ended(started: list[Container]) -> Iterator[None]:
    """Kill what still runs of `started` when the block ends."""
    try:
        yield
    finally:
        for container in started:
            container.kill()

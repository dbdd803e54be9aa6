"""Makes what the Containerfile says as folders: its steps run one after the other in a chroot of its base.

Packages come from where this machine gets them: the settings of pip and of proxies are those of the caller.
"""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.containerfile import instructions
from tests.deploy.places import CHECKOUT, DEPLOY

STARTING = {"USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
"""Instructions that say how a container is started, and make nothing."""
LEFT_OUT_OF_SLIM = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/man/*", "/usr/share/locale/*")
FROM_CALLER = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
RUN = """
set -e
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
[ -z "$HOST_CERTIFICATES" ] || cp "$HOST_CERTIFICATES" "$1/run/certificates.pem"
exec /usr/sbin/chroot "$1" /usr/bin/env --chdir="$2" --unset=HOST_CERTIFICATES /bin/sh -c "$3"
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StepFailed(Exception):
    """A step of the Containerfile ended with an error; the text is the step and what it printed."""


@dataclass
class Stage:
    """One stage of the image: its files, and what its instructions set."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"
    starting: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> None:
        """Run a command as root in this stage; raises StepFailed."""
        certificates = os.environ.get("PIP_CERT", "")
        environment = self.environment | {
            "HOST_CERTIFICATES": certificates,
            **{name: os.environ[name] for name in FROM_CALLER if name in os.environ},
            **({"PIP_CERT": "/run/certificates.pem"} if certificates else {}),
        }
        command_line = ["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c", RUN, "sh"]
        done = subprocess.run(
            [*command_line, str(self.root), self.folder, command],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise StepFailed(f"{command}\n{done.stdout}")

    def place(self, path: str) -> Path:
        """Return where a path of the image is on this machine."""
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")


def build_image(work: Path) -> Stage:
    """Run the steps of the Containerfile below `work`, and return the last stage; raises StepFailed."""
    before = os.umask(0o022)  # a builder's; Driftline's own settings let nobody else in
    try:
        return _build(work)
    finally:
        os.umask(before)


def _build(work: Path) -> Stage:
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage = None
    for name, words in instructions():
        if name == "ARG":
            key, _, default = words.partition("=")
            if stage is None:
                arguments["${" + key + "}"] = default
            else:
                stage.environment[key] = default.strip('"')
            continue
        if name == "FROM":
            base, _, alias = words.partition(" AS ")
            stage = Stage(_base(arguments.get(base, base), work, f"stage-{len(stages)}"))
            stages[alias or "last"] = stage
            continue
        assert stage is not None, "the file begins with ARG or FROM"
        if name == "RUN":
            stage.run(words)
        elif name == "WORKDIR":
            stage.folder = words
            stage.place("").mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            _copy(stage, words, stages)
        elif name == "ENV":
            stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(words))
        elif name in STARTING:
            stage.starting[name] = words
        else:
            raise StepFailed(f"This builder does not know {name} {words}")
    return stages["last"]


def _base(image: str, work: Path, name: str) -> Path:
    """Make a minimal system of the Debian release that `image` names."""
    suite = image.rpartition(":")[2].removesuffix("-slim")
    base = work / f"base-{suite}"
    if not base.exists():
        left_out = [f"--dpkgopt=path-exclude={one}" for one in LEFT_OUT_OF_SLIM]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *left_out, suite, base], check=True)
    subprocess.run(["cp", "--archive", base, work / name], check=True)
    return work / name


def _copy(stage: Stage, words: str, stages: dict[str, Stage]) -> None:
    *sources, target = words.split()
    if sources[0].startswith("--from="):
        origin = stages[sources.pop(0).removeprefix("--from=")]
        places = [origin.place(source) for source in sources]
    else:
        places = [CHECKOUT / source for source in sources]
    patterns = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    ignored = shutil.ignore_patterns(*(one.removeprefix("**/") for one in patterns if one.startswith("**/")))
    for place in places:
        if not place.is_dir():
            shutil.copy2(place, stage.place(target))
        elif place.is_relative_to(CHECKOUT):
            shutil.copytree(place, stage.place(target), ignore=ignored, symlinks=True, dirs_exist_ok=True)
        else:
            stage.place(target).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", f"{place}/.", stage.place(target)], check=True)


def size_mb(folder: Path) -> int:
    """Return what the files below a folder take on the disk, in millions of bytes."""
    done = subprocess.run(
        ["du", "--summarize", "--block-size=1", "--one-file-system", folder], capture_output=True, check=True
    )
    return round(int(done.stdout.split()[0]) / 1e6)

"""The bundle for machines without a network: `make e2e-image`, as root, in a checkout without changes."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.deploy.places import CHECKOUT

pytestmark = [pytest.mark.image, pytest.mark.e2e]

RELEASE = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
NAME = f"driftline-{RELEASE}-bundle"
WITHOUT_NETWORK = ["unshare", "--net", "--"]


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    return subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle of this commit, unpacked, beside the public key of who signed it."""
    changes = subprocess.run(
        ["git", "status", "--porcelain"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    if changes.stdout:
        pytest.skip("a bundle is made of a commit, and there are changes beside it")
    folder = tmp_path_factory.mktemp("bundle")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    subprocess.run([CHECKOUT / ".ci" / "bundle", key], check=True)
    (folder / "allowed_signers").write_text(f"release {key.with_suffix('.pub').read_text()}")
    subprocess.run(["tar", "--extract", "--file", CHECKOUT / "build" / f"{NAME}.tar"], cwd=folder, check=True)
    return folder / NAME


def verify(bundle: Path) -> bool:
    """Check signature and checksums as the guide says."""
    with (bundle / "SHA256SUMS").open() as sums:
        signature = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", "../allowed_signers", "-I", "release", "-n", "driftline",
             "-s", "SHA256SUMS.sig"],
            cwd=bundle, stdin=sums, capture_output=True,
        )  # fmt: skip
    return (
        signature.returncode == 0 and run("sha256sum", "--check", "SHA256SUMS", folder=bundle).returncode == 0
    )


def test_what_is_in_it_is_signed(bundle: Path) -> None:
    listed = {line.split()[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}

    assert there - listed == {"SHA256SUMS", "SHA256SUMS.sig"}
    assert verify(bundle)


@pytest.mark.parametrize("changed", ["sbom.cdx.json", "SHA256SUMS"])
def test_a_change_is_noticed(bundle: Path, changed: str) -> None:
    before = (bundle / changed).read_bytes()

    try:
        (bundle / changed).write_bytes(before + b"\n")
        assert not verify(bundle)
    finally:
        (bundle / changed).write_bytes(before)


def test_it_is_installed_without_a_network(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["tar", "--extract", "--file", bundle / f"driftline-{RELEASE}.tar.gz"], cwd=tmp_path, check=True
    )
    checkout = tmp_path / f"driftline-{RELEASE}"
    (tmp_path / "wheels").symlink_to(bundle / "wheels")

    without = run(*WITHOUT_NETWORK, ".ci/setup", folder=checkout)
    shutil.rmtree(checkout / ".venv")
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "../wheels",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": "../wheels",
    }
    installed = run(*WITHOUT_NETWORK, ".ci/setup", folder=checkout, **offline)
    checked = run(*WITHOUT_NETWORK, ".venv/bin/python", "manage.py", "check", folder=checkout)

    assert without.returncode != 0
    assert (installed.returncode, installed.stderr) == (0, "")
    assert (checked.returncode, "no issues" in checked.stdout) == (0, True)

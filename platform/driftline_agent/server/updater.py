"""Keeps the device at the version that it is assigned: download, proof, swap, and back where the new one fails.

Until a version has proved itself nothing on the disk names it, so a power cut at any point leaves the one of before.
"""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from driftline_agent.accelerators import CPU
from driftline_agent.durable_files import size_of
from driftline_agent.errors import ModelRefused, NotReached, ServerRefused
from driftline_agent.model import WAITS_FOR_ROWS, LoadedModel, all_finite, check_file
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import Identity, store_identity
from driftline_agent.server.key_succession import follow
from driftline_agent.server.manifest import Manifest, SignedManifest, check_current, read_manifest
from driftline_agent.server.signatures import is_signed
from driftline_agent.server.uplink import DownloadFailed, Uplink
from driftline_agent.serving import ModelInUse
from driftline_agent.versions import VersionStore

log = logging.getLogger("driftline_agent")


ATTEMPTS = 10
"""Downloads of a release that may fail before the server hears of it: networks spoil files, break off, and mend."""


class Updater:
    """One device's way from version to version; called by one thread."""

    def __init__(
        self,
        home: Path,
        identity: Identity,
        versions: VersionStore,
        in_use: ModelInUse,
        uplink: Uplink,
        clock: DeviceClock,
        profile: str = CPU,
    ) -> None:
        self._home = home
        self._identity = identity
        self._versions = versions
        self._in_use = in_use
        self._uplink = uplink
        self._clock = clock
        self._profile = profile
        self._assigned: Manifest | None = None
        self._passing_failure = ""
        self._failed_attempts = 0

    # -- starting ------------------------------------------------------------------------------------------------------
    def load_from_disk(self) -> None:
        """Answer with the version that is on the disk, else with the one before it; neither needs a network."""
        for signed in (self._versions.now.current, self._versions.now.previous):
            if signed is None:
                continue
            try:
                model = self._load(self._read_stored(signed))
                model.prove(None)
            except ModelRefused as error:
                log.error("a version on the disk cannot answer: %s", error)
                continue
            self._in_use.swap(model)
            log.info("version %s answers, from the disk", model.manifest.version)
            if signed is not self._versions.now.current:
                with contextlib.suppress(OSError):  # of a full disk: the next start does the same
                    self._versions.roll_back()
            return

    # -- polling -------------------------------------------------------------------------------------------------------
    def poll(self) -> None:
        """Ask for the assignment and fulfil it. Raises NotReached, Revoked or ServerRefused."""
        signed = self._uplink.assignment()
        if signed is None:
            return
        self._follow_key(signed)
        try:
            manifest = self._read(signed, [self._identity.public_key])
            check_current(
                manifest,
                generation=self._versions.now.generation,
                now_ms=self._clock.server_ms() or self._clock.wall_ms(),
            )
        except ModelRefused as error:
            log.error("an assignment is refused: %s", error)
            return
        if self._assigned is None or self._assigned.release != manifest.release:
            self._failed_attempts = 0
        self._assigned, self._passing_failure = manifest, ""
        try:
            self._fulfil(signed, manifest)
        except BaseException:  # without a network or room on the disk: the next poll asks for it again
            self._uplink.forget_assignment()
            raise

    def _follow_key(self, signed: SignedManifest) -> None:
        """Trust the key that signed an assignment where the trusted one names it, on the disk first."""
        if is_signed(signed.manifest, signed.signature, self._identity.public_key):
            return
        try:
            identity = follow(self._identity, self._uplink.key_successions())
            if identity != self._identity:
                store_identity(self._home, identity)
        except BaseException:  # without a network or room on the disk: the next poll asks for it again
            self._uplink.forget_assignment()
            raise
        if identity != self._identity:
            self._identity = identity
            self._uplink.name_key(identity.public_key)
            log.info(
                "the server signs with another key, which the one before it names: number %s",
                identity.key_number,
            )

    def outcome(self) -> tuple[int | None, str]:
        """Return the release that was assigned and why it is not there; None for one that is still on its way."""
        manifest, model = self._assigned, self._in_use.model
        if manifest is None:
            return None, ""
        failure = self._versions.now.failure_of(manifest.release) or self._passing_failure
        if failure:
            return manifest.release, failure[:300]
        is_there = model is not None and model.manifest.answers_like(manifest)
        return (manifest.release if is_there else None), ""

    def _fulfil(self, signed: SignedManifest, manifest: Manifest) -> None:
        model = self._in_use.model
        if self._versions.now.failure_of(manifest.release):
            self._take_back_aborted(manifest)
            return
        if model is not None and model.manifest.answers_like(manifest):
            model.manifest = manifest
            self._versions.renew(signed, manifest.generation)
            return
        is_return, draft = self._is_return_to(manifest), self._versions.draft_of(manifest)
        here = size_of(draft)
        try:
            self._fetch(manifest)
            candidate = self._load(manifest)
            # what the version that is taken back answered may be what the one before refuses
            candidate.prove(None if is_return else self._in_use.sample())
        except ModelRefused as error:
            self._versions.refuse(manifest.release, str(error), manifest.generation)
            log.error("version %s is refused: %s", manifest.version, error)
            return
        except (DownloadFailed, NotReached, ServerRefused, OSError) as error:
            has_grown = size_of(draft) > here  # a slow line needs many tries, and gets there
            self._failed_attempts = 0 if has_grown else self._failed_attempts + 1
            if self._failed_attempts >= ATTEMPTS:
                self._passing_failure = f"it could not be downloaded: {error}"
            self._uplink.forget_assignment()
            log.error("version %s could not be downloaded: %s", manifest.version, error)
            return
        self._versions.install(signed, manifest.generation, keeps_current=not is_return)
        self._in_use.swap(candidate)
        log.info("version %s answers", manifest.version)

    def _fetch(self, manifest: Manifest) -> None:
        """Fetch the version's file to the disk; one that is there already is not asked for again."""
        path = self._versions.path_of(manifest)
        try:
            check_file(path, manifest)
            return
        except ModelRefused:
            self._uplink.download(manifest, self._versions.draft_of(manifest), path)
        try:
            check_file(path, manifest)
        except ModelRefused as error:
            path.unlink(missing_ok=True)
            raise DownloadFailed(str(error)) from error

    # -- watching ------------------------------------------------------------------------------------------------------
    def look_at_failures(self) -> None:
        """Go back where the version in place fails requests that the one before it answers."""
        model, feed, previous = self._in_use.model, self._in_use.failing, self._versions.now.previous
        if not self._in_use.needs_look.is_set():
            return
        if model is None or feed is None or previous is None:
            self._in_use.forget_failures()
            return
        try:
            before = self._load(self._read_stored(previous))
            if not all_finite(before.run(feed)):
                raise ModelRefused("it answers NaN or infinity")
        except ModelRefused as error:
            log.warning("requests fail, and the earlier version does no better: %s", error)
            self._in_use.forget_failures()
            return
        reason = "it failed requests in a row that the earlier version answers"
        self._in_use.swap(before)  # first, as a full disk must not keep the version that fails
        log.error("version %s is taken back: %s", model.manifest.version, reason)
        self._versions.take_back(model.manifest.release, reason)

    def _take_back_aborted(self, assigned: Manifest) -> None:
        """Go back to the earlier version where the one in place was released after the assigned one, so was aborted.

        The assigned one was refused, and is not tried again.
        """
        model, previous = self._in_use.model, self._versions.now.previous
        if model is None or previous is None or model.manifest.release < assigned.release:
            return
        try:
            manifest = self._read_stored(previous)
            if manifest.release > assigned.release:
                return  # it was aborted, too
            before = self._load(manifest)
            before.prove(None)
        except ModelRefused as error:
            log.error("the earlier version cannot answer: %s", error)
            return
        self._in_use.swap(before)
        log.info("version %s was aborted; %s answers", model.manifest.version, before.manifest.version)
        self._versions.roll_back()

    def accelerate(self) -> None:
        """Make the version in place run by the profile once rows that it answered can prove that it does."""
        model = self._in_use.model
        if model is None or model.runs_on != WAITS_FOR_ROWS:
            return
        if (sample := self._in_use.sample()) is not None:
            model.accelerate(sample)

    def _is_return_to(self, manifest: Manifest) -> bool:
        """Return whether a manifest is of the earlier version."""
        previous = self._versions.now.previous
        try:
            return previous is not None and self._read_stored(previous).answers_like(manifest)
        except ModelRefused:  # the file that names it was spoilt
            return False

    def _read(self, signed: SignedManifest, keys: Sequence[str]) -> Manifest:
        return read_manifest(signed, keys=keys, device=self._identity.device)

    def _read_stored(self, signed: SignedManifest) -> Manifest:
        """Read a manifest of the disk, which an earlier key may have signed."""
        return self._read(signed, self._identity.keys)

    def _load(self, manifest: Manifest) -> LoadedModel:
        return LoadedModel(manifest, self._versions.path_of(manifest), self._profile)

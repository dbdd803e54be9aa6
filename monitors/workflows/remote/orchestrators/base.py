"""What every service that runs pipelines can do for a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

type Order = Mapping[str, Any]
"""What a pipeline is asked for, as JSON: see `order.py`."""


@dataclass(frozen=True)
class Option:
    """A setting of a kind of pipeline beside its address and secret."""

    name: str
    title: str
    example: str
    is_required: bool = True


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as it is called; `secret` is empty where none is set."""

    url: str
    options: Mapping[str, str]
    secret: str


class ExternalState(StrEnum):
    """How a service says that its run is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Orchestrator:
    """A service that runs pipelines. Registered in `orchestrators.ORCHESTRATORS`.

    Every call raises `RequestFailed` where the service refuses it or does not answer in time.
    """

    title: str
    """Its name on pages."""

    url: str
    """What the address is, with an example."""

    secret: str
    """What the secret is; the service is called without one where none is set."""

    options: tuple[Option, ...] = ()

    tested_with = ""
    """The real server that it was tried with; empty where none could be had."""

    starts_once = True
    """Whether a start that is repeated, as its answer was lost, starts nothing more."""

    can_poll = False
    """Whether it says how its run is; without that only the pipeline's own calls and the deadline end the wait."""

    can_stop = False
    """Whether a run of it can be found by its key and ended; who can stop can poll too."""

    def fault_in_secret(self, secret: str) -> str:
        """Return why a secret could never work and what to use; empty where it could."""
        return ""

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        """Start one run for this key, however often it is called; return what the service calls it."""
        raise NotImplementedError

    def find(self, pipeline: Pipeline, key: str) -> str:
        """Return what the service calls the run that was started for a key, where `can_stop`; empty where none was."""
        raise NotImplementedError

    def state(self, pipeline: Pipeline, external_id: str) -> ExternalState:
        """Ask how a run is, where `can_poll`."""
        raise NotImplementedError

    def stop(self, pipeline: Pipeline, external_id: str) -> None:
        """Ask for the end of a run, where `can_stop` and it has not ended; raises where it goes on."""
        raise NotImplementedError


class RunsNamedByKey(Orchestrator):
    """A service of which a run has the key as its name; it refuses a second one of that name."""

    can_poll = can_stop = True

    def find(self, pipeline: Pipeline, key: str) -> str:
        return key


def state_of(found: str, *, succeeded: str, failed: tuple[str, ...]) -> ExternalState:
    """Read a service's own word for a state; what is neither an end nor known still runs."""
    if found == succeeded:
        return ExternalState.SUCCEEDED
    return ExternalState.FAILED if found in failed else ExternalState.RUNNING

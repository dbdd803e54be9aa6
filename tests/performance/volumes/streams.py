"""The streams that are replayed, by processes that each have a database of their own."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.performance.installation import services_only
from tests.performance.peer_servers import Environment
from tests.performance.volumes.package_data import PACKAGE_DATA, PackagedTraffic
from tests.performance.volumes.worlds import BROKEN_FROM, FAULTS, QUIET_WORLDS, MadeTraffic, Traffic


@dataclass(frozen=True)
class Stream:
    """What is replayed once: a world, a fault in it (empty for none), rows a day and a seed."""

    world: str
    fault: str
    volume: int
    seed: int
    days: int
    with_rivals: bool

    @property
    def cost(self) -> float:
        """Say roughly how long it takes beside others."""
        return (1 + self.volume / 5_000) * (1 + self.with_rivals)


def streams_of(
    *,
    volumes: Sequence[int],
    seeds: int,
    days: int,
    rival_seeds: int,
    worlds: Sequence[str],
    faults: Sequence[str],
) -> list[Stream]:
    """List the streams: every world without a fault unless `faults` are asked for, and each fault once a seed.

    The seeds of a fault go through the worlds in turn. The costly ones come first, so that the processes end together,
    and of these all of one seed before the next, so that what is there when somebody stops it is whole seeds.
    """
    names = worlds or [world.name for world in QUIET_WORLDS]
    quiet = [] if faults else [(world, "", seed) for world in names for seed in range(seeds)]
    broken = [
        (names[seed % len(names)], fault.name, seed)
        for fault in FAULTS
        if days > BROKEN_FROM and (not faults or fault.name in faults)
        for seed in range(seeds)
    ]
    streams = [
        Stream(world, fault, volume, seed, days, seed < rival_seeds)
        for volume in volumes
        for world, fault, seed in [*quiet, *broken]
    ]
    return sorted(streams, key=lambda stream: (-stream.cost, stream.seed))


def replay_all(streams: Sequence[Stream], processes: int) -> Iterator[dict[str, Any]]:
    """Replay streams in some processes and yield what became of each, in the order in which they end."""
    context = get_context("spawn")
    if any(stream.with_rivals for stream in streams):
        Environment("nannyml").install("nannyml")
    if any(stream.world in PACKAGE_DATA for stream in streams):
        Environment("package-data").install("package-data")
    with ExitStack() as stack:
        homes = context.Queue()
        for _ in range(processes):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="driftline-bench-")))
            homes.put(str(stack.enter_context(services_only(folder, durable=False)).home))
        pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_enter_home, initargs=(homes,))
        try:
            for ended in as_completed([pool.submit(_replay, stream) for stream in streams]):
                yield ended.result()
        finally:  # also where somebody stops it: what was not begun is left out
            pool.shutdown(cancel_futures=True)


def traffic_of(stream: Stream) -> Traffic:
    fault = next((fault for fault in FAULTS if fault.name == stream.fault), None)
    if stream.world in PACKAGE_DATA:
        return PackagedTraffic(stream.world, fault, stream.volume, stream.seed)
    world = next(world for world in QUIET_WORLDS if world.name == stream.world)
    return MadeTraffic(world, fault, stream.volume, stream.seed)


def _enter_home(homes: "Queue[str]") -> None:
    import django

    warnings.simplefilter("ignore")  # the rivals' libraries have many
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[threads] = "1"
    os.environ |= {
        "DRIFTLINE_HOME": homes.get(),
        "DRIFTLINE_DATABASE_URL": "",
        "DRIFTLINE_BROKER_URL": "",
        "DJANGO_SETTINGS_MODULE": "driftline.settings",
    }
    django.setup()


def _replay(stream: Stream) -> dict[str, Any]:
    from tests.performance.volumes.replay import StreamReplay, forget_everything
    from tests.performance.volumes.rivals import rival_incidents

    cpu, traffic = time.process_time(), traffic_of(stream)
    replay = StreamReplay(traffic)
    incidents = replay.run(stream.days)
    span, cpu = replay.judged_span(), time.process_time() - cpu
    rivals = {}
    if stream.with_rivals:
        rivals = rival_incidents(traffic, replay.reference, stream.days, replay.start, span)
    forget_everything()
    return {
        **asdict(stream),
        "days": replay.days,
        "reference_days": traffic.reference_days,
        "feature": traffic.feature,
        "span": span,
        "incidents": [asdict(incident) for incident in incidents],
        "rivals": rivals,
        "cpu_s": round(cpu, 2),
    }

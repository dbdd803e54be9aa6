"""What capacity is judged by: rows a second, growth a day, room on each disk, and the models that take most."""

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q, QuerySet, Sum

from driftline.base.periods import floor
from driftline.operations.capacity.log_archive import ArchiveSample, archive_folder, read_log_archive
from driftline.operations.capacity.samples import KEPT, MIN_OVER, database_folder, measure_disk
from driftline.operations.models import DiskSample
from inference.prediction_log.models import PredictionChunk, size_of
from inference.registry.models import Model
from monitors.summaries.models import Summary

MODELS_SHOWN = 10
MAX_DAYS = 3_650  # what fills later than that is not filling
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class DailyGrowth:
    """How many bytes more there are a day, over the `days` that were looked at; below 0 where more was deleted."""

    days: float
    database: float
    log: float
    summaries: float
    home_lost: float
    """What the disk of the home has less a day, whatever took it."""
    database_lost: float | None
    """The same of the database's disk; None where it is not seen."""


@dataclass(frozen=True)
class Disk:
    """A file system with something of ours on it."""

    holds: str
    folder: Path
    free: int
    total: int
    lost_a_day: float | None
    """None where no growth is known yet."""

    @property
    def days_until_full(self) -> float | None:
        """Return how many days the room lasts if it shrinks on like this; None where it does not, or nobody knows."""
        if self.lost_a_day is None or self.lost_a_day <= 0:
            return None
        days = self.free / self.lost_a_day
        return days if days <= MAX_DAYS else None


@dataclass(frozen=True)
class ModelSize:
    """What the chunks and summaries of a model hold; the ids that find its rows, and indexes, are not counted."""

    model_id: int
    name: str
    project: str
    rows: int
    log_bytes: int
    summary_bytes: int
    rows_last_day: int

    @property
    def bytes(self) -> int:
        return self.log_bytes + self.summary_bytes


@dataclass(frozen=True)
class Capacity:
    """All figures of one moment; rows are counted by event time, in whole hours."""

    rows_last_hour: int
    rows_last_day: int
    now: DiskSample
    growth: DailyGrowth | None
    """None until two samples lie an hour apart."""
    disks: tuple[Disk, ...]
    archives_log: bool
    log_archive: ArchiveSample | None
    """None where no log is archived, and until the archive was measured."""

    @property
    def sees_database(self) -> bool:
        return self.now.database_free_bytes is not None


def read_capacity(moment: datetime) -> Capacity:
    """Read the figures of the whole installation."""
    sample = measure_disk(moment)
    growth = _growth(sample)
    hour, day = _rows(moment)
    archive = read_log_archive()
    return Capacity(
        rows_last_hour=hour,
        rows_last_day=day,
        now=sample,
        growth=growth,
        disks=(*_disks(growth), *_disks_of_archive(archive)),
        archives_log=archive_folder() is not None,
        log_archive=archive,
    )


def _rows(moment: datetime) -> tuple[int, int]:
    """Count the rows of the last whole hour and of the last 24, as their summaries do."""
    end = floor(moment, "hour")
    summaries = _summaries_of_last_day(moment, Model.objects.values_list("pk", flat=True))
    counted = summaries.aggregate(hour=Sum("rows", filter=Q(start__gte=end - _HOUR)), day=Sum("rows"))
    return counted["hour"] or 0, counted["day"] or 0


def _summaries_of_last_day(moment: datetime, models: Iterable[int]) -> QuerySet[Summary]:
    end = floor(moment, "hour")
    return Summary.objects.filter(
        model__in=models, span="hour", segment="", start__gte=end - _DAY, start__lt=end
    )


def _growth(sample: DiskSample) -> DailyGrowth | None:
    """Compare with the oldest sample of the last days; None where there is none yet."""
    first = (
        DiskSample.objects.filter(at__gte=sample.at - KEPT, at__lte=sample.at - MIN_OVER)
        .order_by("at")
        .first()
    )
    if first is None:
        return None
    days = (sample.at - first.at) / _DAY

    def gained(field: str) -> float:
        return (getattr(sample, field) - getattr(first, field)) / days

    is_seen = sample.database_free_bytes is not None and first.database_free_bytes is not None
    return DailyGrowth(
        days=days,
        database=gained("database_bytes"),
        log=gained("log_bytes"),
        summaries=gained("summary_bytes"),
        home_lost=-gained("home_free_bytes"),
        database_lost=-gained("database_free_bytes") if is_seen else None,
    )


def _disks(growth: DailyGrowth | None) -> list[Disk]:
    """Describe the disk of the home, and that of the database where it is seen and another one."""
    data = database_folder()
    is_same = data is not None and data.stat().st_dev == settings.HOME.stat().st_dev
    disks = [
        _disk("home and database" if is_same else "home", settings.HOME, growth.home_lost if growth else None)
    ]
    if data is not None and not is_same:
        disks.append(_disk("database", data, growth.database_lost if growth else None))
    return disks


def _disks_of_archive(archive: ArchiveSample | None) -> list[Disk]:
    """Describe the disk of the archive as it was measured, by the log that is archived: other files may grow too."""
    if archive is None:
        return []
    return [
        Disk("log archive", Path(archive.folder), archive.free_bytes, archive.total_bytes, archive.log_a_day)
    ]


def _disk(holds: str, folder: Path, lost_a_day: float | None) -> Disk:
    usage = shutil.disk_usage(folder)
    return Disk(holds, folder, usage.free, usage.total, lost_a_day)


def largest_models(moment: datetime) -> list[ModelSize]:
    """List the models with the most bytes, the largest first; the length of each chunk and summary is read for it."""
    chunks = PredictionChunk.objects.order_by().values_list("model")
    sized = chunks.annotate(Sum("rows"), bytes=Sum(size_of("payload", "id_hashes", "labels")))
    logs = {model_id: (rows, size) for model_id, rows, size in sized}
    sizes = Summary.objects.order_by().values_list("model").annotate(bytes=Sum(size_of("payload", "blocks")))
    summaries = Counter(dict(sizes))
    both = summaries + Counter({model_id: size for model_id, (_, size) in logs.items()})
    largest = [model_id for model_id, _ in both.most_common(MODELS_SHOWN)]
    recent = _summaries_of_last_day(moment, largest).values_list("model").annotate(rows=Sum("rows"))
    rows_last_day = Counter(dict(recent))
    models = Model.objects.select_related("project").in_bulk(largest)
    return [
        ModelSize(
            model_id,
            models[model_id].name,
            models[model_id].project.slug,
            *logs.get(model_id, (0, 0)),
            summaries[model_id],
            rows_last_day[model_id],
        )
        for model_id in largest
        if model_id in models
    ]

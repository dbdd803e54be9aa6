"""Writes what is due to lakes, as a worker does, until nothing is left; a process that can be killed at any moment."""

import time

import django

django.setup()

from inference.prediction_log.lake import parts  # noqa: E402  Django has to be set up first
from inference.prediction_log.lake.days import files_to_write  # noqa: E402
from inference.prediction_log.lake.models import LakeFile  # noqa: E402
from inference.prediction_log.lake.writing import write_lake_file  # noqa: E402

parts.MAX_FILE_BYTES = 20_000  # so that a day lies in several files

while LakeFile.objects.unfinished().exists():
    file = files_to_write().order_by("due_at", "pk").first()
    if file is None:
        time.sleep(0.05)
    else:
        write_lake_file(file.pk)

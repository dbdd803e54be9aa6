"""What a process spools: its predictions, the copies that shadows answer, and how its requests ended."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from inference.prediction_log.spool.record import encode_record
from inference.prediction_log.spool.segments import (
    RESERVED_BYTES,
    SEGMENT_BYTES,
    SpoolWriter,
    new_instance_name,
)
from inference.serving.counts.request_tally import RequestTally
from inference.serving.engine.journal import Journal
from inference.serving.options import EngineOptions

MIN_SEGMENT_BYTES = 4096
log = logging.getLogger(__name__)


class Spools:
    """Writes the spools of one process, and knows whether those of all processes are full."""

    def __init__(
        self, home: Path, options: EngineOptions, tally: RequestTally, before_sync: Callable[[], object]
    ) -> None:
        """Open the spools; `before_sync` is called when a sync has ended, and may write for the next one."""
        self.waiting_bytes = 0  # of all processes, as last measured
        self.is_full = False
        self._max_bytes = options.spool_max_bytes
        self._syncs_each_record = options.fsync == "always"
        self._tally = tally
        segment_bytes = max(min(options.spool_max_bytes // 8, SEGMENT_BYTES), MIN_SEGMENT_BYTES)
        self._writer = SpoolWriter(
            home,
            new_instance_name("main"),
            segment_bytes,
            reserved_bytes=0 if options.fsync == "off" else min(RESERVED_BYTES, segment_bytes),
            seals=options.seals,
            background_sync=options.fsync in ("off", "interval"),
        )
        self.shadow_writer = SpoolWriter(
            home, new_instance_name("shadow"), segment_bytes, seals=options.seals
        )
        self.journal = Journal(self._writer, options.fsync, before_sync, sync_s=options.sync_ms / 1000)

    def written_bytes(self) -> int:
        """Count the bytes that this process has spooled."""
        return self._writer.written + self.shadow_writer.written

    def measure(self, waiting_bytes: int) -> None:
        """Note the size of all spools together; a full spool takes no further predictions."""
        self.waiting_bytes = waiting_bytes
        self.is_full = waiting_bytes >= self._max_bytes

    def log_request_counts(self) -> None:
        """Spool how the requests ended since the last call, for the log to add up."""
        counts = self._tally.take(time.time())
        if counts is None:
            return

        def settle(error: OSError | None) -> None:
            if error is not None:
                self._tally.give_back(counts)

        self.journal.write([encode_record(counts)], settle)
        self.journal.flush()

    def close(self) -> None:
        """Close the spool of predictions; every record must be settled."""
        self.journal.close()
        self._writer.close()

    def close_shadows(self) -> None:
        """Close the shadows' spool, with which of their copies were answered or dropped since the last counts."""
        counts = self._tally.take(time.time())
        if counts is not None:
            try:
                self.shadow_writer.append([encode_record(counts)], sync=self._syncs_each_record)
            except OSError:
                log.warning("the last counts of shadows were not spooled", exc_info=True)
        self.shadow_writer.close()

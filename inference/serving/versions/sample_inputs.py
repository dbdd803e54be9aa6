"""What a version was lately asked, in memory alone: a batch of each size, for the next version to be tried on."""

from inference.runtime.session import Array

REMEMBER_EVERY = 64  # runs; the first of each size is always remembered
MAX_BATCH_BYTES = 1 << 20

Batch = dict[str, Array]


class RecentInputs:
    """The newest batches of a version, one for each doubling of the rows, so at most eleven."""

    def __init__(self) -> None:
        self._runs = 0
        self._batches: dict[int, Batch] = {}

    def note(self, batch: Batch, rows: int) -> None:
        """Remember a batch now and then; large ones never."""
        self._runs += 1
        size = rows.bit_length()
        if (self._runs % REMEMBER_EVERY == 0 or size not in self._batches) and _weight(
            batch
        ) <= MAX_BATCH_BYTES:
            self._batches[size] = batch

    def batches(self) -> list[Batch]:
        """Return what is remembered, small batches first."""
        return [batch for _, batch in sorted(self._batches.copy().items())]

    def one_row(self) -> Batch | None:
        """Return one row that was really asked."""
        batches = self.batches()
        return {name: values[:1] for name, values in batches[0].items()} if batches else None


def _weight(batch: Batch) -> int:
    """Count the bytes of a batch's values."""
    return sum(
        sum(map(len, values.ravel().tolist())) if values.dtype == object else values.nbytes
        for values in batch.values()
    )

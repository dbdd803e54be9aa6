"""How much an uploaded model may hold and use, and the order to examine one within that."""

from msgspec import Struct, structs

MIB = 1 << 20

type ReferenceRows = dict[str, list[float | str | None]]
"""Some rows of a model's reference, a column a feature; a missing value is None."""


class SampledReference(Struct, frozen=True):
    """Some rows of a model's reference, and the SHA-256 of the file that they are from."""

    sha256: str
    rows: ReferenceRows


class IntakeLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """Caps of one intake; sizes in bytes, times in seconds."""

    file_bytes: int = 512 * MIB
    nodes: int = 100_000
    tensors: int = 100_000
    """Initialisers and other stored tensors."""
    depth: int = 8
    """Subgraphs (If, Loop, Scan) within each other."""
    features: int = 10_000
    name_characters: int = 200
    text_bytes: int = MIB
    """Documentation and metadata properties of the model together."""
    memory_bytes: int = 4096 * MIB
    """Address space of the child, libraries (about 300 MiB) included."""
    load_cpu_s: int = 5
    """For a small file; `for_file` adds to it."""
    run_cpu_s: int = 4
    wall_s: float = 60.0
    report_bytes: int = 4 * MIB

    def for_file(self, size: int) -> "IntakeLimits":
        """Allow a larger file more time to load, a second for each 16 MiB: a small one has no need of it."""
        return structs.replace(self, load_cpu_s=self.load_cpu_s + size // (16 * MIB))


class Order(Struct, frozen=True):
    """What the launcher asks of the child.

    `features` are the names that the uploader gave to columns or inputs, `missing` the texts that stand for a
    missing string, and `rows_handle` an open file of reference rows by feature (msgpack), where there is one.
    """

    limits: IntakeLimits
    features: list[str]
    missing: dict[str, str]
    rows_handle: int | None

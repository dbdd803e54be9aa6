"""How much an uploaded model may hold and use, and the order to examine one within that."""

from msgspec import Struct

MIB = 1 << 20


class IntakeLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """Caps of one intake; sizes in bytes, times in seconds."""

    file_bytes: int = 512 * MIB
    nodes: int = 100_000
    depth: int = 8
    """Subgraphs (If, Loop, Scan) within each other."""
    features: int = 10_000
    name_characters: int = 200
    text_bytes: int = MIB
    """Documentation and metadata properties of the model together."""
    memory_bytes: int = 4096 * MIB
    """Address space of the child, libraries (about 300 MiB) included."""
    load_cpu_s: int = 20
    run_cpu_s: int = 5
    wall_s: float = 60.0
    report_bytes: int = 4 * MIB


class Order(Struct, frozen=True):
    """What the launcher asks of the child; `columns` is the width of a table where the graph leaves it open."""

    limits: IntakeLimits
    columns: int | None

"""Writes an evidence pack as PDF that is tagged for screen readers."""

from dataclasses import replace
from pathlib import Path

import msgspec

from monitors.reports.evidence.drawing import DrawnPack, DrawnTable

MAX_PDF_ROWS = 200
"""Rows of each table. Thirteen full tables take 2 s and 380 MB at that; at a thousand rows 13 s and 1.7 GB."""


def write_pdf(pack: DrawnPack) -> bytes:
    """Set a pack on A4; tables are cut at `MAX_PDF_ROWS`, and say how many rows the page or the JSON has more.

    Nothing that a pack says is read as markup. It claims no PDF/UA, which refuses a text that no font of this machine
    can show; such a character is an empty box, as in other programs.
    """
    import typst  # 80 MB: only a worker that writes a pack loads it

    short = replace(
        pack,
        sections=[replace(one, tables=[_cut(table) for table in one.tables]) for one in pack.sections],
    )
    return typst.compile(
        Path(__file__).with_name("pack.typ").read_bytes(),
        sys_inputs={"pack": msgspec.json.encode(short).decode()},
        format="pdf",
    )


def _cut(table: DrawnTable) -> DrawnTable:
    more = max(len(table.rows) - MAX_PDF_ROWS, 0)
    return replace(table, rows=table.rows[:MAX_PDF_ROWS], left_out=table.left_out + more)

"""Packs what workers of a cluster import into one file: `python -m driftline_spark.bundle driftline-spark.zip`.

Give it to `spark-submit --py-files`. Workers need numpy, pyarrow, msgspec and zstandard beside it, and no Django.
"""

import sys
import zipfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKED = {
    _ROOT / "platform": (
        "driftline_flink",
        "driftline_spark",
        "driftline/base/errors.py",
        "driftline/base/ids.py",
        "driftline/base/periods.py",
        "driftline/base/strict_json.py",
    ),
    _ROOT: (
        "inference/data_files/vectors.py",
        "inference/image_names.py",
        "inference/prediction_log/items.py",
        "inference/prediction_log/rows/sent_items.py",
        "inference/signatures.py",
        "inference/vector_names.py",
        "inference/vectors.py",
        "monitors/definitions/outcomes.py",
        "monitors/stats",
    ),
}
_EMPTY = (
    "driftline",
    "driftline/base",
    "inference",
    "inference/data_files",
    "inference/prediction_log",
    "inference/prediction_log/rows",
    "monitors",
    "monitors/definitions",
)
"""Packages of which only parts are packed: what their own files import is not there."""


def write_bundle(path: Path) -> None:
    """Write the file; the same sources give the same bytes. Raises FileNotFoundError where a source is missing."""
    sources = {f"{package}/__init__.py": "" for package in _EMPTY}
    for root, names in _PACKED.items():
        for source in sorted(file for name in names for file in _files(root / name)):
            sources[str(source.relative_to(root))] = source.read_text()
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in sources.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    if not files:
        raise FileNotFoundError(
            f"{path} is not there; make the bundle in a checkout of Driftline, not from a wheel"
        )
    return files


if __name__ == "__main__":
    write_bundle(Path(sys.argv[1]))

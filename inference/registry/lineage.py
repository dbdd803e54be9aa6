"""Where a version comes from: its data, its trainer with its parameters, its parent and what set the training off."""

from typing import Any

from pydantic import Field, ValidationError

from driftline.base.errors import Problem, invalid
from driftline.base.http.bodies import Body
from driftline.base.strict_json import escape_pointer
from inference.registry.models import Model

MAX_BYTES = 64 << 10


class TrainingWindow(Body):
    """The rows that a version learnt from; `start` and `end` are RFC 3339, `dataset` is one that Driftline stores."""

    dataset: int | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    start: str | None = Field(default=None, max_length=40)
    end: str | None = Field(default=None, max_length=40)
    training_rows: int | None = Field(default=None, ge=0)


class Lineage(Body):
    """What an uploader tells of a version; `uri` is where a pipeline keeps its own record.

    `run` is set by Driftline's own workflow alone.
    """

    trainer: str = Field(default="", max_length=200)
    parameters: dict[str, Any] = {}
    seed: int | None = None
    parent: str | None = Field(default=None, max_length=64)
    trigger: str = Field(default="", max_length=200)
    data: TrainingWindow | None = None
    libraries: dict[str, str] = Field(default={}, max_length=50)
    parity: dict[str, Any] = {}
    uri: str = Field(default="", max_length=500)
    run: int | None = None


def read_lineage(document: Any, *, model: Model) -> Lineage:
    """Check what an uploader tells; raises Problem with a pointer to the fault.

    A run is refused here: it would let an upload pass for what the workflow registered.
    """
    try:
        lineage = Lineage.model_validate(document)
    except ValidationError as error:
        raise _fault(error) from error
    if lineage.run is not None:
        raise invalid(
            "/lineage/run", "Only Driftline's own workflow names a run; tell what it was in trigger."
        )
    if lineage.parent is not None and not model.versions.filter(version=lineage.parent).exists():
        raise invalid(
            "/lineage/parent", f"The model has no version {lineage.parent!r}; name one that it has."
        )
    return lineage


def _fault(error: ValidationError) -> Problem:
    first = error.errors()[0]
    pointer = "/lineage" + "".join(f"/{escape_pointer(str(part))}" for part in first["loc"])
    code = "unknown_field" if first["type"] == "extra_forbidden" else "invalid_parameter"
    if not first["loc"]:
        return invalid(pointer, "'lineage' must be a JSON object.", code)
    return invalid(pointer, f"The lineage is not as expected at {pointer}: {first['msg'].lower()}.", code)

"""What a request names, found in a version's signature; what is not there is refused in a sentence."""

from collections.abc import Collection, Mapping, Sequence

from inference.protocol.v2.tensors import (
    Buffer,
    InvalidRequest,
    TensorCodec,
    TooManyRows,
    shorten,
    tensor_codecs,
)
from inference.signatures import Signature

MAX_ROWS = 10_000
MAX_ID_LENGTH = 200


class SignatureMatch:
    """Finds inputs and outputs by name; built once, when a version is loaded."""

    def __init__(self, signature: Signature) -> None:
        self.tensors = tensor_codecs(signature)
        self.outputs = signature.outputs
        self.all_outputs = range(len(signature.outputs))
        self.places = {spec.name: place for place, spec in enumerate(signature.inputs)}
        self._output_places = {spec.name: place for place, spec in enumerate(signature.outputs)}

    def find_input(self, name: str, datatype: object, before: Collection[str]) -> TensorCodec:
        """Find the input of this name, which has to have this datatype and may not be among those before."""
        if name in before:
            raise InvalidRequest(f"Input {shorten(name)} comes twice; send it once.")
        codec = self.find_named_input(name)
        if datatype != codec.datatype:
            raise InvalidRequest(
                f"Input '{name}' has datatype {shorten(datatype)}; the model takes {codec.datatype}."
            )
        return codec

    def find_named_input(self, name: str) -> TensorCodec:
        """Find the input of this name."""
        if name not in self.places:
            raise InvalidRequest(
                f"The model has no input {shorten(name)}; its inputs are {list_names(self.places)}."
            )
        return self.tensors[self.places[name]]

    def in_order(self, packed: Mapping[str, Buffer]) -> list[Buffer]:
        """Put the inputs into the signature's order; every one has to be there."""
        absent = [name for name in self.places if name not in packed]
        if absent:
            raise InvalidRequest(f"Input '{absent[0]}' is missing; send all of {list_names(self.places)}.")
        return [packed[name] for name in self.places]

    def find_output(self, name: str, before: Collection[int]) -> int:
        """Find the place of an output that is asked for, once."""
        place = self._output_places.get(name)
        if place is None:
            raise InvalidRequest(
                f"The model has no output {shorten(name)}; its outputs are {list_names(self._output_places)}."
            )
        if place in before:
            raise InvalidRequest(f"Output {shorten(name)} is asked for twice; ask once.")
        return place


def read_rows(codec: TensorCodec, shape: Sequence[int], before: int | None) -> int:
    """Check an input's shape against the model's and give its rows, as many as inputs before it have."""
    wanted = ["rows", *codec.row_shape]
    if len(shape) != len(wanted) or list(shape[1:]) != codec.row_shape:
        raise InvalidRequest(
            f"Input '{codec.name}' has the shape {show_shape(shape)}; the model takes {show_shape(wanted)}."
        )
    rows = shape[0]
    if rows < 1:
        raise InvalidRequest(f"Input '{codec.name}' has {rows} rows; send at least one.")
    if rows > MAX_ROWS:
        raise TooManyRows(f"Input '{codec.name}' has {rows} rows; send at most {MAX_ROWS} at a time.")
    if before is not None and rows != before:
        raise InvalidRequest(
            f"Input '{codec.name}' has {rows} rows and others have {before}; send as many in each."
        )
    return rows


def read_client_id(client_id: object) -> str | None:
    """Read a request's own id; None where it has none."""
    if client_id is None or client_id == "":
        return None
    if not isinstance(client_id, str) or len(client_id) > MAX_ID_LENGTH or not client_id.isprintable():
        raise InvalidRequest(
            f"The id {shorten(client_id)} is not a string of 1 to {MAX_ID_LENGTH} printable characters."
        )
    return client_id


def show_shape(shape: Sequence[object]) -> str:
    """Show a shape in a message, never at length."""
    return "[" + ", ".join(str(size)[:20] for size in shape[:8]) + (", ..." if len(shape) > 8 else "") + "]"


def list_names(names: Collection[str]) -> str:
    """Show names in a message, at most 20."""
    shown = ", ".join(f"'{name}'" for name in list(names)[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"

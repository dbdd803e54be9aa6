"""Whether another server's tensors are those that the model's callers know, under other names."""

from typing import NamedTuple

from inference.signatures import TensorSpec

JSON_KINDS = ("FP", "INT", "UINT", "BOOL", "BYTES")


class Adopted(NamedTuple):
    """Tensors under our names; `names` maps ours to the other server's where they differ."""

    specs: list[TensorSpec]
    names: dict[str, str]


def adopt(found: list[TensorSpec], known: list[TensorSpec], *, by_json: bool) -> Adopted:
    """Return the other server's tensors the names of those that are known, where they are the same; else its own.

    Those of the same names are the same, else those at the same places. `by_json` says that the types were guessed
    from JSON values, which have no width.
    """
    if len(found) != len(known):
        return Adopted(found, {})
    theirs = {spec.name: spec for spec in found}
    in_order = (
        [theirs[spec.name] for spec in known] if theirs.keys() == {one.name for one in known} else found
    )
    if not all(_is_same(one, other, by_json) for one, other in zip(in_order, known, strict=True)):
        return Adopted(found, {})
    names = {
        ours.name: their.name for their, ours in zip(in_order, known, strict=True) if their.name != ours.name
    }
    return Adopted(known, names)


def _is_same(found: TensorSpec, known: TensorSpec, by_json: bool) -> bool:
    if by_json:
        same_type = _kind(found.datatype) == _kind(known.datatype) or (
            found.datatype == "INT64" and known.datatype.startswith("FP")  # 1.0 may be written as 1
        )
    else:
        same_type = found.datatype == known.datatype
    return same_type and _same_shape(found.shape[1:], known.shape[1:])


def _kind(datatype: str) -> str:
    return (
        "INT" if "INT" in datatype else next((kind for kind in JSON_KINDS if datatype.startswith(kind)), "")
    )


def _same_shape(found: list[int], known: list[int]) -> bool:
    """Compare shapes of a row; a last dimension of 1 may be there or not, and an open one fits any."""
    if len(found) != len(known):
        shorter, longer = sorted((found, known), key=len)
        return longer == [*shorter, 1]
    return all(-1 in pair or pair[0] == pair[1] for pair in zip(found, known, strict=True))

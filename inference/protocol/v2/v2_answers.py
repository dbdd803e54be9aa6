"""Answers of the Open Inference Protocol, version 2: JSON, and JSON followed by binary tensors."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import orjson

from inference.protocol.dialect import JSON_FIELDS, HttpBody, InferRequest
from inference.protocol.results import BatchOutputs
from inference.protocol.tensorflow.classification import class_labels, top_classes
from inference.protocol.v2.raw_tensors import write_raw
from inference.protocol.v2.v2_requests import AnswerForm
from inference.signatures import Signature

_json = msgspec.json.encode


class AnswerCodec:
    """Writes the answers of one version; built once, when it is loaded."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._head = b'{"model_name":%b,"model_version":%b' % (_json(model), _json(version))
        self._outputs = signature.outputs
        self._tensor_heads = [_tensor_head(spec.name, spec.datatype) for spec in signature.outputs]
        self._labels = [class_labels(signature, spec) for spec in signature.outputs]
        self._all_outputs = range(len(signature.outputs))
        self._row_shapes: list[bytes] | None = None
        self._one_row = b""

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write the answer for the rows `start` to `stop` of a batch, as the request asks for it."""
        places = request.outputs
        if request.answer_form is not None:
            return self._encode_mixed(outputs, start, stop, request, request.answer_form)
        if stop - start == 1 and outputs.all_finite and places == self._all_outputs:
            if outputs.row_shapes is not self._row_shapes:
                self._set_one_row_form(outputs)
            return HttpBody(self._one_row % (self._identity(request), *outputs.rows[start]))
        tensors = [self._tensor(outputs, place, start, stop) for place in places]
        warning = b"" if outputs.all_finite else self._warning(outputs, start, stop, places)
        return HttpBody(self._document(request, warning, tensors))

    def _document(self, request: InferRequest, warning: bytes, tensors: Sequence[bytes]) -> bytes:
        identity = self._identity(request)
        return b'%b%b%b,"outputs":[%b]}' % (self._head, identity, warning, b",".join(tensors))

    def _identity(self, request: InferRequest) -> bytes:
        return b"" if request.client_id is None else b',"id":' + _json(request.client_id)

    def _set_one_row_form(self, outputs: BatchOutputs) -> None:
        """Write the usual answer with a place for the identity and each output's values, for the shapes of a batch."""
        if outputs.row_shapes != self._row_shapes:
            parts = zip(self._tensor_heads, outputs.row_shapes, strict=True)
            tensors = [b'%b1%b],"data":[' % part for part in parts]
            self._one_row = b'%b%%b,"outputs":[%b%%b]}]}' % (
                self._head.replace(b"%", b"%%"),
                b"%b]},".join([tensor.replace(b"%", b"%%") for tensor in tensors]),
            )
        self._row_shapes = outputs.row_shapes

    def _tensor(self, outputs: BatchOutputs, place: int, start: int, stop: int) -> bytes:
        texts = outputs.texts(place)
        rows = texts[start] if stop - start == 1 else b",".join(texts[start:stop])
        return b'%b%d%b],"data":[%b]}' % (
            self._tensor_heads[place],
            stop - start,
            outputs.row_shapes[place],
            rows,
        )

    def _warning(self, outputs: BatchOutputs, start: int, stop: int, places: Iterable[int]) -> bytes:
        """Return which outputs of these rows are null because the model gave NaN or infinity."""
        names = [
            self._outputs[place].name
            for place in places
            if not outputs.finite[place] and not np.isfinite(outputs.arrays[place][start:stop]).all()
        ]
        if not names:
            return b""
        sentence = f"The model gave values that are not finite in {', '.join(names)}; they are null here."
        return b',"parameters":' + _json({"driftline_warnings": sentence})

    # Other forms than plain JSON

    def _encode_mixed(
        self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest, form: AnswerForm
    ) -> HttpBody:
        tensors: list[bytes] = []
        tail: list[bytes] = []
        plain: list[int] = []
        for place in request.outputs:
            if place in form.classes:
                names = top_classes(
                    outputs.arrays[place][start:stop], form.classes[place], self._labels[place]
                )
                head = b"%b%d,%d]" % (_tensor_head(self._outputs[place].name, "BYTES"), *names.shape)
                if place in form.binary:
                    tail.append(write_raw(names, "BYTES"))
                    tensors.append(_binary_tensor(head, tail[-1]))
                else:
                    tensors.append(b'%b,"data":%b}' % (head, orjson.dumps(names.ravel().tolist())))
            elif place in form.binary:
                values = outputs.arrays[place][start:stop]
                shape = b",".join([b"%d" % size for size in values.shape])
                tail.append(write_raw(values, self._outputs[place].datatype))
                tensors.append(_binary_tensor(b"%b%b]" % (self._tensor_heads[place], shape), tail[-1]))
            else:
                plain.append(place)
                tensors.append(self._tensor(outputs, place, start, stop))
        warning = self._warning(outputs, start, stop, plain)
        document = self._document(request, warning, tensors)
        return HttpBody(b"".join([document, *tail]), _fields(len(document)) if tail else JSON_FIELDS)


def _tensor_head(name: str, datatype: str) -> bytes:
    return b'{"name":%b,"datatype":%b,"shape":[' % (_json(name), _json(datatype))


def _binary_tensor(head: bytes, raw: bytes) -> bytes:
    return b'%b,"parameters":{"binary_data_size":%d}}' % (head, len(raw))


def _fields(document_bytes: int) -> bytes:
    return (
        b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % document_bytes
    )

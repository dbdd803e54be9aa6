"""Programs of the device send and get tensors as bytes behind the JSON, as V2's clients do."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from driftline_agent.serving import Dataplane, Reply
from tests.driftline_agent.device import PlayedDevice, times
from tests.inference.onnx_models import echoing_model, echoing_signature, embedding_model, embedding_signature

INFER = "/v2/models/fuel/infer"
TEXTS = b"".join(struct.pack("<I", len(text)) + text for text in (b"AA", "Köln".encode(), b""))
ONE = {"name": "X", "shape": [1, 1], "datatype": "FP32"}


@pytest.fixture
def program(device: PlayedDevice) -> Dataplane:
    return Dataplane(device.in_use, None, "truck")


def have(device: PlayedDevice, content: bytes, signature: Any = None) -> None:
    device.server.offer(content, "1", signature=signature)
    device.updater.poll()


def ask(program: Dataplane, document: Any, tail: bytes = b"") -> Reply:
    return program.write(INFER, json.dumps(document).encode(), tail)


def sized(size: Any, **tensor: Any) -> dict[str, Any]:
    return {**ONE, **tensor, "parameters": {"binary_data_size": size}}


def outputs_of(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.document
    assert reply.document is not None
    return list(reply.document["outputs"])


def test_an_image_is_answered_as_if_it_came_as_text(device: PlayedDevice, program: Dataplane) -> None:
    have(device, embedding_model(), embedding_signature())
    image = np.random.default_rng(3).normal(size=(2, 3, 4, 4)).astype("<f4")
    tensor = {"name": "X", "shape": [2, 3, 4, 4], "datatype": "FP32"}

    as_text = ask(program, {"inputs": [{**tensor, "data": image.ravel().tolist()}]})
    as_bytes = ask(
        program, {"inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}]}, image.tobytes()
    )

    assert outputs_of(as_bytes) == outputs_of(as_text)
    assert as_bytes.tail == b""


def test_texts_and_numbers_come_back_as_they_went(device: PlayedDevice, program: Dataplane) -> None:
    have(device, echoing_model(), echoing_signature())
    amounts = np.array([1.5, np.nan, -2.0], "<f4").tobytes()
    inputs = [
        sized(len(TEXTS), name="carrier", datatype="BYTES", shape=[3, 1]),
        sized(len(amounts), name="amount", shape=[3, 1]),
    ]

    reply = ask(
        program,
        {
            "inputs": [inputs[0], {**ONE, "name": "amount", "shape": [3, 1], "data": [1.5, 0.0, -2.0]}],
            "parameters": {"binary_data_output": True},
        },
        TEXTS,
    )

    number, text = outputs_of(reply)
    assert number == {
        "name": "number", "datatype": "FP32", "shape": [3, 1], "parameters": {"binary_data_size": 12}
    }  # fmt: skip
    assert text["parameters"] == {"binary_data_size": len(TEXTS)}
    assert reply.tail == np.array([1.5, 0.0, -2.0], "<f4").tobytes() + TEXTS
    assert ask(program, {"inputs": inputs}, TEXTS + amounts).status == 500  # the model answers NaN


@pytest.mark.parametrize(
    ("asked", "as_bytes"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
            },
            False,
        ),
        ({"outputs": [{"name": "z", "parameters": {"binary_data": True}}]}, False),
        ({"outputs": 7, "parameters": []}, False),
        ({"outputs": [{"name": ["y"]}, 7, {"name": None}]}, False),
    ],
)
def test_an_output_is_bytes_where_the_request_wants_it(
    device: PlayedDevice, program: Dataplane, asked: dict[str, Any], as_bytes: bool
) -> None:
    have(device, times(3))

    reply = ask(program, {"inputs": [{**ONE, "data": [2.0]}], **asked})

    [output] = outputs_of(reply)
    assert ("data" not in output) == as_bytes
    assert reply.tail == (struct.pack("<f", 6.0) if as_bytes else b"")


@pytest.mark.parametrize(
    ("tensor", "tail", "part"),
    [
        (sized(4), b"", "0 are left"),
        (sized(8), bytes(8), "must be 4 bytes, as the shape says; it has 8"),
        (sized(4, shape=[2, 1]), bytes(4), "must be 8 bytes"),
        (sized(4), bytes(5), "1 bytes behind the JSON that no tensor takes"),
        (sized(-1), bytes(4), "must be a whole number of bytes"),
        (sized(True), bytes(4), "must be a whole number of bytes"),
        (sized("4"), bytes(4), "must be a whole number of bytes"),
        (sized(4, data=[1.0]), bytes(4), "give either 'data' or 'binary_data_size'"),
        (sized(4), struct.pack("<f", float("inf")), "a number that FP32 cannot hold"),
        (sized(4, shape=[10**4000, 1]), bytes(4), "whole numbers from 1 to"),
        ({**ONE, "data": [1.0]}, bytes(4), "4 bytes behind the JSON"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused_in_words(
    device: PlayedDevice, program: Dataplane, tensor: dict[str, Any], tail: bytes, part: str
) -> None:
    have(device, times(3))

    reply = ask(program, {"inputs": [tensor]}, tail)

    assert reply.status == 400
    assert part in str(reply.document)


@pytest.mark.parametrize(
    ("tail", "part"),
    [
        (b"\x05\x00\x00\x00AA", "a text ends beyond its tensor"),
        (b"\x05\x00", "a text ends beyond its tensor"),
        (b"\x02\x00\x00\x00\xff\xfe", "a text is not UTF-8"),
        (bytes(8), "it must hold 1 texts, as the shape says; it has 2"),
        (b"", "it must hold 1 texts, as the shape says; it has 0"),
    ],
)
def test_bytes_that_are_no_texts_are_refused_in_words(
    device: PlayedDevice, program: Dataplane, tail: bytes, part: str
) -> None:
    have(device, echoing_model(), echoing_signature())
    inputs = [{**ONE, "name": "amount", "data": [1.0]}, sized(len(tail), name="carrier", datatype="BYTES")]

    reply = ask(program, {"inputs": inputs}, tail)

    assert reply.status == 400
    assert part in str(reply.document)

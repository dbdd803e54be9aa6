"""Protobuf's text format, read without a schema."""

import pytest
from google.protobuf import text_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.registry.importers.protobuf_text import ProtobufMessage, read_message
from inference.registry.importers.source_model import MigrationRefused

TREES = st.recursive(
    st.text(max_size=20) | st.booleans() | st.integers(-1000, 1000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


class TestReadMessage:
    def test_takes_lists_and_repeated_fields_as_the_same(self) -> None:
        written = read_message("dims: [ 2, -1 ]  tag: 'a'", "it")
        repeated = read_message('dims: 2; dims: -1, tag: "a" # one a line', "it")

        assert written == repeated
        assert written.numbers("dims") == [2, -1]

    def test_takes_both_ways_to_write_messages(self) -> None:
        message = read_message("latest { count: 1 } latest: < count: 2 > all: [ { }, { } ]", "it")

        assert [latest.numbers("count") for latest in message.messages("latest")] == [[1], [2]]
        assert message.messages("all") == [ProtobufMessage(), ProtobufMessage()]

    @pytest.mark.slow
    @settings(max_examples=40)
    @given(st.dictionaries(st.text(max_size=8), TREES, max_size=4))
    def test_reads_what_protobuf_writes(self, tree: dict[str, object]) -> None:
        struct = Struct()
        struct.update(tree)

        message = read_message(text_format.MessageToString(struct, as_utf8=True), "it")

        assert {entry.text("key") for entry in message.messages("fields")} == set(tree)

    @pytest.mark.parametrize(
        "text",
        [
            "a",
            "a:",
            "a {",
            "a: }",
            "a: [1 2]",
            "[x.y]: 1",
            'a: "x',
            "\0",
            "a {" * 40,
            "a: 1 }",
            "a: 'x\\xff'",
            "a: 'x\\:'",
            "{}",
        ],
    )
    def test_says_where_a_file_is_broken(self, text: str) -> None:
        with pytest.raises(MigrationRefused, match=r"fraud/config\.pbtxt is not in protobuf's text format"):
            read_message(text, "fraud/config.pbtxt")

    @given(st.text(alphabet="ab:{}[]<>,;'\"-1.\\\n #", max_size=60))
    def test_never_fails_otherwise(self, text: str) -> None:
        try:
            message = read_message(text, "it")
        except MigrationRefused:
            return

        assert message == read_message(text + " ", "it")

    @pytest.mark.parametrize("text", ["n: { }", "n: many", "n: 1.5", "n: 0x"])
    def test_refuses_what_is_no_number(self, text: str) -> None:
        with pytest.raises(MigrationRefused, match="'n'"):
            read_message(text, "it").numbers("n")

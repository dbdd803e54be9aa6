"""The metadata of an upload: strict, and exact about where it is wrong."""

import pytest

from inference.registry.intake import IntakeRefused, parse_metadata
from inference.runtime.providers import CPU


class TestParseMetadata:
    def test_a_version_runs_on_the_cpu_where_nothing_else_is_asked(self) -> None:
        assert parse_metadata(b"{}").execution_provider == CPU

    def test_reads_every_part(self) -> None:
        metadata = parse_metadata(
            b'{"features": [{"name": "age", "type": "int"}, {"name": "carrier", "type": "string"}],'
            b'"outputs": {"prediction": "y", "probabilities": "p"}, "classes": [0, "one"],'
            b'"positive_class": 0, "missing": {"carrier": "NA"}}'
        )

        assert [(feature.name, feature.type) for feature in metadata.features] == [
            ("age", "int"),
            ("carrier", "string"),
        ]
        assert (metadata.outputs.prediction, metadata.outputs.probabilities) == ("y", "p")
        assert metadata.class_texts == ["0", "one"]
        assert metadata.missing == {"carrier": "NA"}

    @pytest.mark.parametrize(
        ("raw", "pointer"),
        [
            (b"", ""),
            (b"{", ""),
            (b"[]", ""),
            (b"\xff\xfe", ""),
            (b"[" * 5000, ""),
            (b'{"feature": []}', "/feature"),
            (b'{"a/b~c": 1}', "/a~1b~0c"),
            (b'{"features": "a"}', "/features"),
            (b'{"features": [{"name": "a"}, {"name": 7}]}', "/features/1/name"),
            (b'{"features": [{"name": "a", "type": "date"}]}', "/features/0/type"),
            (b'{"features": [{"name": "a", "kind": 1}]}', "/features/0/kind"),
            (b'{"features": [{}]}', "/features/0"),
            (b'{"features": [{"name": ""}]}', "/features/0/name"),
            (b'{"features": [{"name": "a\\u0000"}]}', "/features/0/name"),
            (b'{"features": [{"name": "a"}, {"name": "a"}]}', "/features/1/name"),
            (b'{"outputs": {"label": "y"}}', "/outputs/label"),
            (b'{"classes": [1, 2, true]}', "/classes/2"),
            (b'{"classes": [1, "1"]}', "/classes/1"),
            (b'{"positive_class": 0.5}', "/positive_class"),
            (b'{"missing": {"a": null}}', "/missing"),
        ],
    )
    def test_refuses_with_a_pointer_to_the_fault(self, raw: bytes, pointer: str) -> None:
        with pytest.raises(IntakeRefused) as caught:
            parse_metadata(raw)

        assert (caught.value.code, caught.value.status) == ("invalid_metadata", 422)
        assert caught.value.pointer == pointer
        assert caught.value.detail.endswith(".")

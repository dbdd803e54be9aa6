"""Signatures that do not fit, each refused with a code, a pointer and a sentence."""

import pytest
from msgspec.structs import replace

from inference.registry.intake import IntakeRefused, parse_metadata
from inference.registry.intake.metadata import ImageDeclaration, declare
from inference.registry.intake.report import Findings, GraphFacts, ObservedOutput, SandboxFacts
from inference.registry.intake.signature import derive_signature
from inference.signatures import ImageSpec, TensorSpec

CLASSIFIER = Findings(
    graph=GraphFacts(8, {"ai.onnx": 17}, "", "", "", 1, 0, {}, {"label": ["no", "yes"]}),
    inputs=[TensorSpec("age", "FP32", [-1, 1]), TensorSpec("carrier", "BYTES", [-1, 1])],
    outputs=[TensorSpec("label", "BYTES", [-1]), TensorSpec("probabilities", "FP32", [-1, 2])],
    dry_runs=[],
    observed={
        "label": ObservedOutput([3], finite=True, sums_to_one=False),
        "probabilities": ObservedOutput([3, 2], finite=True, sums_to_one=True),
    },
    sandbox=SandboxFacts(True, True, True, True, 0, 0, 0),
)
NUMBER = replace(
    CLASSIFIER,
    graph=replace(CLASSIFIER.graph, class_labels={}),
    outputs=[TensorSpec("low", "FP32", [-1, 1]), TensorSpec("high", "FP32", [-1, 1])],
    observed={},
)


def _refusal(findings: Findings, metadata: str, task: str) -> tuple[str, str | None]:
    with pytest.raises(IntakeRefused) as caught:
        derive_signature(findings, parse_metadata(metadata.encode()), task=task)
    assert caught.value.status == 422
    return caught.value.code, caught.value.pointer


class TestDeriveSignature:
    def test_features_keep_the_order_in_which_they_were_declared(self) -> None:
        metadata = parse_metadata(b'{"features": [{"name": "carrier"}, {"name": "age", "type": "int"}]}')

        signature, warnings = derive_signature(CLASSIFIER, metadata, task="binary")

        assert [(feature.name, feature.type) for feature in signature.features] == [
            ("carrier", "string"),
            ("age", "int"),
        ]
        assert [spec.name for spec in signature.inputs] == ["age", "carrier"]
        assert warnings == []

    @pytest.mark.parametrize(
        ("metadata", "code", "pointer"),
        [
            ('{"features": [{"name": "age"}]}', "incompatible_signature", "/features"),
            ('{"features": [{"name": "age"}, {"name": "x"}]}', "incompatible_signature", "/features/1/name"),
            (
                '{"features": [{"name": "age", "type": "string"}, {"name": "carrier"}]}',
                "incompatible_signature",
                "/features/0/type",
            ),
            ('{"outputs": {"prediction": "x"}}', "incompatible_signature", "/outputs/prediction"),
            ('{"outputs": {"probabilities": "label"}}', "incompatible_signature", "/outputs/probabilities"),
            ('{"outputs": {"prediction": "probabilities"}}', "incompatible_signature", "/outputs/prediction"),
            ('{"classes": ["yes", "no"]}', "incompatible_signature", "/classes"),
            ('{"classes": ["no", "yes", "maybe"]}', "incompatible_signature", "/classes"),
            ('{"positive_class": "maybe"}', "invalid_metadata", "/positive_class"),
            ('{"missing": {"age": "0"}}', "invalid_metadata", "/missing/age"),
            ('{"missing": {"a/b": "0"}}', "invalid_metadata", "/missing/a~1b"),
        ],
    )
    def test_refuses_metadata_that_does_not_fit_the_graph(
        self, metadata: str, code: str, pointer: str
    ) -> None:
        assert _refusal(CLASSIFIER, metadata, "binary") == (code, pointer)

    def test_refuses_classes_that_do_not_fit_the_probability_columns(self) -> None:
        unlabelled = replace(CLASSIFIER, graph=replace(CLASSIFIER.graph, class_labels={}))

        assert _refusal(unlabelled, '{"classes": ["a", "b", "c"]}', "multiclass") == (
            "incompatible_signature",
            "/classes",
        )

    def test_refuses_three_classes_for_a_binary_model(self) -> None:
        three = replace(CLASSIFIER, graph=replace(CLASSIFIER.graph, class_labels={"label": ["a", "b", "c"]}))

        assert _refusal(three, "{}", "binary") == ("incompatible_signature", "/classes")

    def test_refuses_a_positive_class_among_many(self) -> None:
        assert _refusal(CLASSIFIER, '{"positive_class": "no"}', "multiclass") == (
            "incompatible_signature",
            "/positive_class",
        )

    def test_asks_which_of_several_numbers_is_the_prediction(self) -> None:
        assert _refusal(NUMBER, "{}", "regression") == ("invalid_metadata", "/outputs/prediction")

    @pytest.mark.parametrize("task", ["regression", "ranking"])
    def test_takes_the_number_that_is_named(self, task: str) -> None:
        metadata = parse_metadata(b'{"outputs": {"prediction": "high"}}')

        signature, _ = derive_signature(NUMBER, metadata, task=task)

        assert (signature.prediction_output, signature.classes) == ("high", [])

    def test_refuses_classes_for_a_model_of_numbers(self) -> None:
        assert _refusal(NUMBER, '{"classes": ["a", "b"]}', "regression") == (
            "incompatible_signature",
            "/classes",
        )

    def test_takes_one_column_as_the_probability_of_the_second_class(self) -> None:
        sigmoid = replace(
            CLASSIFIER,
            outputs=[TensorSpec("p", "FP32", [-1, 1])],
            observed={"p": ObservedOutput([3, 1], finite=True, sums_to_one=False)},
        )

        signature, warnings = derive_signature(
            sigmoid, parse_metadata(b'{"classes": ["no", "yes"]}'), task="binary"
        )

        assert (signature.probabilities_output, signature.prediction_output) == ("p", None)
        assert warnings == []

    def test_warns_of_scores_that_are_no_probabilities(self) -> None:
        scores = {**CLASSIFIER.observed, "probabilities": ObservedOutput([3, 2], True, False)}

        _, warnings = derive_signature(
            replace(CLASSIFIER, observed=scores), parse_metadata(b"{}"), task="binary"
        )

        assert any("do not sum to 1" in warning for warning in warnings)

    def test_refuses_a_mix_of_tables_and_single_columns(self) -> None:
        mixed = replace(CLASSIFIER, inputs=[TensorSpec("numbers", "FP32", [-1, 5]), CLASSIFIER.inputs[1]])

        assert _refusal(mixed, "{}", "binary") == ("incompatible_signature", None)


EMBEDDING = TensorSpec("vector", "FP32", [-1, 64])


def _with_output(spec: TensorSpec, seen: list[int] | None) -> Findings:
    observed = {"vector": ObservedOutput(seen, finite=True, sums_to_one=False)} if seen else {}
    return replace(
        CLASSIFIER, outputs=[*CLASSIFIER.outputs, spec], observed={**CLASSIFIER.observed, **observed}
    )


class TestEmbedding:
    @pytest.mark.parametrize(
        ("spec", "seen"),
        [(EMBEDDING, None), (EMBEDDING, [3, 64]), (TensorSpec("vector", "FP32", [-1, -1]), [3, 64])],
    )
    def test_is_an_output_that_the_upload_names(self, spec: TensorSpec, seen: list[int] | None) -> None:
        metadata = parse_metadata(b'{"outputs": {"embedding": "vector"}}')

        signature, _ = derive_signature(_with_output(spec, seen), metadata, task="binary")

        assert signature.embedding_output == "vector"

    @pytest.mark.parametrize(
        ("spec", "seen"),
        [
            (TensorSpec("vector", "FP32", [-1, 1]), None),
            (TensorSpec("vector", "INT64", [-1, 64]), None),
            (TensorSpec("vector", "FP32", [-1, 8, 8]), None),
            (TensorSpec("vector", "FP32", [-1, -1]), None),
            (TensorSpec("vector", "FP32", [-1, 5_000]), None),
        ],
    )
    def test_that_is_no_vector_a_row_is_refused(self, spec: TensorSpec, seen: list[int] | None) -> None:
        refused = _refusal(_with_output(spec, seen), '{"outputs": {"embedding": "vector"}}', "binary")

        assert refused == ("incompatible_signature", "/outputs/embedding")

    def test_that_the_model_does_not_have_or_a_feature_is_called_is_refused(self) -> None:
        assert _refusal(CLASSIFIER, '{"outputs": {"embedding": "vector"}}', "binary") == (
            "incompatible_signature",
            "/outputs/embedding",
        )
        taken = _with_output(TensorSpec("age", "FP32", [-1, 64]), None)
        assert _refusal(taken, '{"outputs": {"embedding": "age"}}', "binary")[1] == "/outputs/embedding"

    def test_that_nobody_names_is_an_output_like_any_other(self) -> None:
        signature, _ = derive_signature(
            _with_output(EMBEDDING, [3, 64]), parse_metadata(b"{}"), task="binary"
        )

        assert signature.embedding_output is None


PIXELS = TensorSpec("photo", "FP32", [-1, 3, 224, 224])


def _of_images(spec: TensorSpec, *outputs: TensorSpec) -> Findings:
    return replace(CLASSIFIER, inputs=[spec], outputs=[*CLASSIFIER.outputs, *outputs])


class TestImages:
    @pytest.mark.parametrize(
        ("spec", "declared", "expected"),
        [
            (PIXELS, '{"layout": "NCHW"}', ImageSpec("NCHW", 0, 1)),
            (PIXELS, '{"layout": "NCHW", "range": [-1, 1]}', ImageSpec("NCHW", -1, 1)),
            (TensorSpec("photo", "UINT8", [-1, 32, 32, 3]), '{"layout": "NHWC"}', ImageSpec("NHWC", 0, 255)),
            (TensorSpec("photo", "FP16", [-1, 28, 28]), '{"layout": "NHW"}', ImageSpec("NHW", 0, 1)),
        ],
    )
    def test_are_what_the_upload_says_of_the_only_input(
        self, spec: TensorSpec, declared: str, expected: ImageSpec
    ) -> None:
        metadata = parse_metadata(f'{{"image": {declared}}}'.encode())

        signature, warnings = derive_signature(_of_images(spec), metadata, task="binary")

        assert signature.image == expected
        assert not any("is no table" in warning for warning in warnings)
        assert declare(signature).image == ImageDeclaration(expected.layout, (expected.low, expected.high))  # type: ignore[arg-type]

    @pytest.mark.parametrize("sides", [[3, -1, -1], [3, 224, -1], [-1, -1, 3]])
    def test_of_any_size_are_refused_as_serving_could_never_answer(self, sides: list[int]) -> None:
        spec = TensorSpec("photo", "FP32", [-1, *sides])

        assert _refusal(_of_images(spec), "{}", "binary") == ("unsupported_input", None)

    def test_that_nobody_declares_are_pointed_out(self) -> None:
        signature, warnings = derive_signature(_of_images(PIXELS), parse_metadata(b"{}"), task="binary")

        assert signature.image is None
        assert any("Where it holds images, say so in image" in warning for warning in warnings)

    @pytest.mark.parametrize(
        "spec",
        [
            TensorSpec("photo", "FP32", [-1, 224, 224]),
            TensorSpec("photo", "FP32", [-1, 5]),
            TensorSpec("photo", "BYTES", [-1, 3, 8, 8]),
            TensorSpec("photo", "BOOL", [-1, 3, 8, 8]),
            TensorSpec("photo", "FP32", [-1, 224, 224, 3]),
        ],
    )
    def test_of_another_layout_or_without_numbers_are_refused(self, spec: TensorSpec) -> None:
        refused = _refusal(_of_images(spec), '{"image": {"layout": "NCHW"}}', "binary")

        assert refused == ("incompatible_signature", "/image/layout")

    def test_beside_other_inputs_are_refused(self) -> None:
        refused = _refusal(CLASSIFIER, '{"image": {"layout": "NCHW"}}', "binary")

        assert refused == ("incompatible_signature", "/image/layout")

    @pytest.mark.parametrize("range_", ["[1, 0]", "[0, 0]", "[-1e308, 1e308]"])
    def test_of_no_range_are_refused(self, range_: str) -> None:
        declared = f'{{"image": {{"layout": "NCHW", "range": {range_}}}}}'

        assert _refusal(_of_images(PIXELS), declared, "binary") == ("invalid_metadata", "/image/range")

    @pytest.mark.parametrize(
        "declared",
        ['{"layout": "CHW"}', "{}", '{"layout": "NCHW", "range": [1]}', '{"layout": "NCHW", "x": 1}'],
    )
    def test_that_are_declared_in_other_words_are_refused(self, declared: str) -> None:
        with pytest.raises(IntakeRefused) as refused:
            parse_metadata(f'{{"image": {declared}}}'.encode())

        assert refused.value.pointer is not None
        assert refused.value.pointer.startswith("/image")

    def test_leave_the_names_of_their_numbers_to_no_embedding(self) -> None:
        embedding = TensorSpec("photo.brightness", "FP32", [-1, 64])
        declared = '{"image": {"layout": "NCHW"}, "outputs": {"embedding": "photo.brightness"}}'

        assert _refusal(_of_images(PIXELS, embedding), declared, "binary")[1] == "/outputs/embedding"

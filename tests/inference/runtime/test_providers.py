"""Which execution provider runs a model, and how that is proved."""

import numpy as np
import pytest

from inference.runtime.providers import PROVIDERS, open_with_provider
from inference.runtime.session import ModelRefused
from tests.inference.onnx_models import summing_model

ROW = {"X": np.array([[1, 2, 3]], np.float32)}


class TestOpenWithProvider:
    def test_runs_on_the_cpu_where_nothing_else_is_asked_for(self) -> None:
        session, execution = open_with_provider(summing_model(3), "cpu", ROW, ["sum"])

        assert (execution.used, execution.fallback) == ("cpu", None)
        assert session.providers == ["CPUExecutionProvider"]

    def test_falls_back_and_says_so_where_the_installation_lacks_the_provider(self) -> None:
        session, execution = open_with_provider(summing_model(3), "rknpu", ROW, ["sum"])

        assert (execution.asked, execution.used) == ("rknpu", "cpu")
        assert "no provider 'rknpu'; it has" in str(execution.fallback)
        assert session.run(ROW, ["sum"])[0].tolist() == [[6.0]]

    @pytest.mark.skipif("azure" not in PROVIDERS, reason="this ONNX Runtime has no provider without kernels")
    def test_does_not_believe_a_provider_that_takes_no_node(self) -> None:
        session, execution = open_with_provider(summing_model(3), "azure", ROW, ["sum"])

        assert execution.used == "cpu"
        assert "takes none of the model's nodes" in str(execution.fallback)
        assert execution.nodes == {"cpu": 1}  # as profiled
        assert session.providers == ["CPUExecutionProvider"]

    def test_refuses_what_is_no_model_whatever_the_provider(self) -> None:
        with pytest.raises(ModelRefused, match="cannot load the model"):
            open_with_provider(b"no model", "azure", ROW, ["sum"])

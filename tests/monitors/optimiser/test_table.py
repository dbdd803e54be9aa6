"""The printed table of `tests.performance.optimiser_table`, on a small forest and two kinds."""

import pytest

from tests.performance.optimiser_table import digits, forest, optimise, print_table


@pytest.mark.slow
def test_prints_what_each_variant_gains_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    learnt, held_out = digits()
    subject = forest(*learnt, trees=12)

    lines = optimise(subject, subject.rows(*learnt), subject.rows(*held_out), kinds=["trees_25", "fp16"])
    print_table(lines)

    assert [line.status for line in lines] == ["refused", "does not apply"]
    assert "accuracy" in lines[0].reason
    printed = capsys.readouterr().out
    assert "forest of 12 trees: 599 held-out pictures" in printed
    assert "First quarter of the trees         refused" in printed
    assert "No MatMul, Gemm or Conv of the graph holds FP32 weights" in printed

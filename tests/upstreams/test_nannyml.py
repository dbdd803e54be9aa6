"""The rival of `make bench-detection` is NannyML itself: what it is asked for each window is what it reports."""

import numpy as np
import pandas as pd
import pytest

from tests.performance.detection.contenders import NannyML
from tests.performance.detection.worlds import WORLDS
from tests.performance.nannyml_rival import nannyml_rival

pytestmark = [pytest.mark.upstreams, pytest.mark.e2e]


def test_a_window_is_as_loud_as_nannymls_own_report_of_it():
    process = WORLDS[1].start(np.random.default_rng(0))
    reference, window = process.reference(20, 50), process.window(100).columns

    with nannyml_rival() as rival:
        nannyml = NannyML(rival, reference, 100, seed=0)
        measured = nannyml.measure(window)
        report = nannyml.calculator.measure(pd.DataFrame(window)).iloc[0]

    alerts = {name for name, loudness in measured.items() if loudness > 1}
    assert alerts == {name for name in window if report[f"{name}.jensen_shannon.alert"]}
    for name, loudness in measured.items():
        usual, room = nannyml.usual[name]
        assert loudness == pytest.approx(
            max((report[f"{name}.jensen_shannon.value"] - usual) / room, 0.0), abs=1e-9
        )

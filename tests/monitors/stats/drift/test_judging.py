import msgspec
import numpy as np
import pytest

from monitors.stats.drift.distances import CATEGORICAL, kernels_for
from monitors.stats.drift.judging import judge_alone, judge_drift
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.thresholds import resample_null
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers

FEATURES = [f"feature {i}" for i in range(20)]


@pytest.mark.slow
def test_one_moved_feature_of_twenty_is_found_and_the_others_rest():
    rng = np.random.default_rng(0)
    references = {
        name: prepare_reference(summarise_numbers(rng.normal(size=2_000), centre=0.0)) for name in FEATURES
    }
    nulls = {name: resample_null(references[name], 177, rng=rng) for name in FEATURES}
    false_alarms, found = 0, 0

    for _ in range(30):
        window = {
            name: summarise_numbers(rng.normal(1.0 if name == FEATURES[7] else 0.0, 1, 200), centre=0.0)
            for name in FEATURES
        }
        judged = judge_drift(references, window, lambda name, size: nulls[name])
        found += judged[FEATURES[7]].drifted
        false_alarms += sum(drift.drifted for name, drift in judged.items() if name != FEATURES[7])

    assert found == 30
    # A twentieth of the flags may be false: 1.5 of 30 expected, out of 570 features without drift.
    assert false_alarms <= 6


@pytest.mark.slow
def test_a_feature_judged_alone_is_judged_as_among_all_or_not_at_all():
    rng = np.random.default_rng(0)
    references = {
        name: prepare_reference(summarise_numbers(rng.normal(size=2_000), centre=0.0)) for name in FEATURES
    }
    nulls = {name: resample_null(references[name], 177, rng=rng) for name in FEATURES}
    alone = []

    for shift in np.linspace(0, 0.6, 10):
        window = {name: summarise_numbers(rng.normal(shift, 1, 200), centre=0.0) for name in FEATURES}
        judged = judge_drift(references, window, lambda name, _: nulls[name])
        for name in FEATURES:
            drift = judge_alone(
                references[name], window[name], name, lambda name, _: nulls[name], among=len(FEATURES)
            )
            assert drift in (None, judged[name])
            alone.append(drift and drift.drifted)

    assert {None, False, True} == set(alone)


def test_a_feature_of_rare_levels_alone_does_not_look_drifted_day_after_day():
    rng = np.random.default_rng(0)
    names = np.array([f"product {i}" for i in range(300)], object)
    shares = rng.dirichlet(np.full(300, 5.0))
    reference = {"x": prepare_reference(summarise_categories(rng.choice(names, 5_000, p=shares)))}
    null = resample_null(reference["x"], 100, rng=rng)

    p_values = [
        judge_drift(
            reference, {"x": summarise_categories(rng.choice(names, 100, p=shares))}, lambda *_: null
        )["x"].p_value
        for _ in range(60)
    ]

    assert np.median(p_values) > 0.2
    assert sum(p_value < 0.05 for p_value in p_values) <= 9


@pytest.mark.slow
def test_windows_of_many_levels_do_not_drift_because_the_reference_saw_few_of_them():
    rng = np.random.default_rng(3)
    names = np.array([f"product {i}" for i in range(300)], object)
    flagged, p_values = 0, []
    for _ in range(6):
        shares = np.exp(rng.normal(size=300))
        shares /= shares.sum()
        reference = {"x": prepare_reference(summarise_categories(rng.choice(names, 1_400, p=shares)))}
        null = resample_null(reference["x"], 168, rng=rng)
        for _ in range(25):
            window = {"x": summarise_categories(rng.choice(names, 168, p=shares))}
            drift = judge_drift(reference, window, lambda *_, null=null: null)["x"]
            flagged += drift.drifted
            p_values.append(drift.p_value)

    assert flagged <= 4
    assert sum(p_value < 0.05 for p_value in p_values) <= 15


def test_a_certain_but_tiny_move_is_not_drift():
    rng = np.random.default_rng(0)
    reference = {"x": prepare_reference(summarise_numbers(rng.normal(size=50_000), centre=0.0))}

    judged = judge_drift(
        reference,
        {"x": summarise_numbers(rng.normal(0.05, 1, 50_000), centre=0.0)},
        lambda name, size: resample_null(reference[name], size, rng=rng),
    )

    assert judged["x"].statistics["ks"].p_value < 1e-3
    assert not judged["x"].drifted


def test_thresholds_are_asked_for_at_the_windows_size_on_the_grid():
    reference = {"x": prepare_reference(summarise_categories(["a", "b"] * 500))}
    asked = []

    def null_of(name, size):
        asked.append((name, size))
        return resample_null(reference[name], size, rng=np.random.default_rng(0))

    judge_drift(
        reference, {"x": summarise_categories(["a"] * 923), "unknown": summarise_categories([])}, null_of
    )

    assert asked == [("x", 826)]


def test_a_judgement_is_json():
    reference = {"x": prepare_reference(summarise_categories(["a", "b"] * 500))}

    judged = judge_drift(
        reference,
        {"x": summarise_categories(["a"] * 400)},
        lambda name, size: resample_null(reference[name], size, rng=np.random.default_rng(0)),
    )

    decoded = msgspec.json.decode(msgspec.json.encode(judged["x"]))
    assert decoded["drifted"] is True
    assert decoded["decided_by"] in {"psi", "chi_square"}
    assert set(decoded["statistics"]) == {kernel.name for kernel in kernels_for(CATEGORICAL)}

"""What a report may be asked for: presets by task, and Evidently's tests by the kind of column that they take."""

from inference.registry.models import ModelTask
from monitors.reports.models import Preset

MAX_ROWS = 20_000
"""Rows of either side; of more a sample is drawn. Evidently needs about a second for a thousand of thirty columns."""
SEED = 0

NUM_METHODS = {
    "anderson": "Anderson-Darling",
    "cramer_von_mises": "Cramér-von Mises",
    "ed": "Energy distance",
    "es": "Epps-Singleton",
    "hellinger": "Hellinger distance",
    "jensenshannon": "Jensen-Shannon distance",
    "kl_div": "Kullback-Leibler divergence",
    "ks": "Kolmogorov-Smirnov",
    "mannw": "Mann-Whitney",
    "empirical_mmd": "Maximum mean discrepancy",
    "psi": "PSI",
    "t_test": "Student's t",
    "wasserstein": "Wasserstein distance, normed",
}
CAT_METHODS = {
    "chisquare": "Chi-square",
    "fisher_exact": "Fisher's exact test (two values)",
    "g_test": "G-test",
    "hellinger": "Hellinger distance",
    "jensenshannon": "Jensen-Shannon distance",
    "kl_div": "Kullback-Leibler divergence",
    "psi": "PSI",
    "TVD": "Total variation distance",
    "z": "Z-test (two values)",
}
TEXT_METHODS = {
    "perc_text_content_drift": "Classifier of content, by percentile",
    "abs_text_content_drift": "Classifier of content",
}
METHODS = {"num_method": NUM_METHODS, "cat_method": CAT_METHODS, "text_method": TEXT_METHODS}

FEWER_ROWS = {
    "empirical_mmd": 300,
    "TVD": 300,
    "perc_text_content_drift": 2_000,
    "abs_text_content_drift": 2_000,
}
"""Rows of either side for tests that take minutes, or all memory, on more."""
EQUAL_ROWS = ("g_test", "fisher_exact")
"""Tests that Evidently makes on sides of the same length alone."""

_BY_TASK = {
    ModelTask.BINARY: [Preset.CLASSIFICATION],
    ModelTask.MULTICLASS: [Preset.CLASSIFICATION],
    ModelTask.REGRESSION: [Preset.REGRESSION],
}


def presets_of(task: str) -> list[Preset]:
    """List Evidently's presets that make sense for a task."""
    return [Preset.DATA_DRIFT, Preset.DATA_SUMMARY, *_BY_TASK.get(ModelTask(task), [])]


def most_rows(methods: list[str]) -> int:
    """Return how many rows of either side these tests can take."""
    return min([MAX_ROWS, *(FEWER_ROWS[name] for name in methods if name in FEWER_ROWS)])

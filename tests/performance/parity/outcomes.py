"""Performance metrics from summaries beside scikit-learn's and Evidently's on the same raw rows."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import datasets, metrics
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from monitors.stats.mergeable.outcomes import (
    OutcomeSummary,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.stats.performance.metrics import measure_outcomes
from monitors.stats.performance.ranking_queries import measure_queries, summarise_queries

QUANTILE = 0.9


@dataclass(frozen=True)
class Answers:
    """A model's answers with the truth: `scores` are of the positive class, a column a class, or None."""

    name: str
    task: str
    truth: np.ndarray
    answer: np.ndarray
    scores: np.ndarray | None


def answers(rng: np.random.Generator) -> Iterator[Answers]:
    """Real models on real data, and scores that are made to be awkward: ties, extremes, nearly equal ones."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    for name, model in (
        ("logistic", LogisticRegression(max_iter=50)),
        ("forest", RandomForestClassifier(20, random_state=0)),
    ):
        yield _classified(f"breast cancer, {name}", model, x, y)
    for name in ("digits", "wine", "iris"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield _classified(name, RandomForestClassifier(20, random_state=0), x, y)
    x, y = datasets.load_diabetes(return_X_y=True)
    fitted = LinearRegression().fit(x[::2], y[::2])
    yield Answers("diabetes", "regression", y[1::2], fitted.predict(x[1::2]), None)
    log_odds = rng.normal(size=20_000)
    for name, p in (
        ("smooth scores", 1 / (1 + np.exp(-log_odds))),
        ("scores of two decimals", (1 / (1 + np.exp(-log_odds))).round(2)),
        ("scores near 0", 1 / (1 + np.exp(-log_odds + 8))),
        ("scores near 1", 1 / (1 + np.exp(-3 * log_odds - 8))),
    ):
        truth = rng.random(p.size) < p
        yield Answers(name, "binary", truth.astype(int), (p >= 0.5).astype(int), p)
    truth = rng.normal(1e6, 100, 20_000)
    yield Answers("labels near 1e6", "regression", truth, truth + rng.standard_t(3, truth.size), None)


def _classified(name: str, model, x: np.ndarray, y: np.ndarray) -> Answers:
    order = np.random.default_rng(0).permutation(y.size)
    train, test = order[: y.size // 2], order[y.size // 2 :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[train], y[train])
    scores, answer = model.predict_proba(x[test]), model.predict(x[test])
    if len(model.classes_) == 2:
        return Answers(name, "binary", y[test], answer, scores[:, 1])
    return Answers(name, "multiclass", y[test], answer, scores)


# -- the three -------------------------------------------------------------------------------------------------------
def from_summaries(given: Answers) -> dict[str, float]:
    """Summarise, store, read back, measure."""
    window = WindowSummary(rows=given.truth.size, features={}, outcome=_outcome(given))
    outcome = WindowSummary.decode(window.encode()).outcome
    assert outcome is not None
    quantile = QUANTILE if given.task == "regression" else None
    measured = measure_outcomes(outcome, quantile=quantile)
    return {name: found.value for name, found in measured.items() if found.value is not None}


def _outcome(given: Answers) -> OutcomeSummary:
    if given.task == "binary":
        return summarise_binary_outcomes(given.truth == 1, given.answer == 1, given.scores)
    if given.task == "multiclass":
        classes = [str(name) for name in range(given.scores.shape[1])]
        return summarise_multiclass_outcomes(classes, given.truth, given.answer, given.scores)
    return summarise_regression_outcomes(given.truth, given.answer)


def by_scikit_learn(given: Answers) -> dict[str, float]:
    y, p = given.truth, given.answer
    if given.task == "regression":
        return {
            "mae": metrics.mean_absolute_error(y, p), "rmse": metrics.root_mean_squared_error(y, p),
            "mape": metrics.mean_absolute_percentage_error(y, p), "r2": metrics.r2_score(y, p),
            "median_absolute_error": metrics.median_absolute_error(y, p), "bias": float(np.mean(p - y)),
            "pinball_loss": metrics.mean_pinball_loss(y, p, alpha=QUANTILE),
        }  # fmt: skip
    average = "binary" if given.task == "binary" else "macro"
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, p, average=average, zero_division=0)
    found = {"accuracy": metrics.accuracy_score(y, p), "precision": precision, "recall": recall, "f1": f1}
    found["log_loss"] = metrics.log_loss(y, given.scores)
    if given.task == "binary":
        return found | {
            "roc_auc": metrics.roc_auc_score(y, given.scores), "brier": metrics.brier_score_loss(y, given.scores),
            "average_precision": metrics.average_precision_score(y, given.scores),
        }  # fmt: skip
    weighted = metrics.precision_recall_fscore_support(y, p, average="weighted", zero_division=0)
    own = np.eye(given.scores.shape[1])[y]
    brier = float(((given.scores - own) ** 2).sum(axis=1).mean())
    return found | {"weighted_precision": weighted[0], "weighted_f1": weighted[2], "brier": brier}


def by_evidently(given: Answers) -> dict[str, float]:
    """Evidently's metrics in a report on the same rows."""
    from evidently import (
        BinaryClassification,
        DataDefinition,
        Dataset,
        MulticlassClassification,
        Regression,
        Report,
    )
    from evidently.metrics import (
        MAE,
        RMSE,
        Accuracy,
        F1Score,
        LogLoss,
        MeanError,
        Precision,
        R2Score,
        Recall,
        RocAuc,
    )  # fmt: skip

    columns: dict[str, np.ndarray] = {"target": given.truth, "answer": given.answer}
    if given.task == "regression":
        definition = DataDefinition(regression=[Regression(target="target", prediction="answer")])
        asked = {"mae": MAE(), "rmse": RMSE(), "r2": R2Score(), "bias": MeanError()}
    elif given.task == "binary":
        columns["p"] = given.scores
        definition = DataDefinition(
            classification=[
                BinaryClassification(
                    target="target", prediction_labels="answer", prediction_probas="p", pos_label=1
                )
            ]
        )
        asked = {"accuracy": Accuracy(), "precision": Precision(), "recall": Recall(), "f1": F1Score()}
        asked |= {"roc_auc": RocAuc(), "log_loss": LogLoss()}
    else:
        definition = DataDefinition(
            classification=[MulticlassClassification(target="target", prediction_labels="answer")]
        )
        asked = {"accuracy": Accuracy(), "precision": Precision(), "recall": Recall(), "f1": F1Score()}
    data = Dataset.from_pandas(pd.DataFrame(columns), data_definition=definition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = Report(list(asked.values())).run(data, None).dict()["metrics"]
    values = [result["value"] for result in results]
    return {
        name: float(value["mean"] if isinstance(value, dict) else value)
        for name, value in zip(asked, values, strict=True)
    }


# -- all of them -----------------------------------------------------------------------------------------------------
@dataclass
class Furthest:
    """The largest differences of a metric to each rival, and on which answers."""

    difference: float = 0.0
    where: str = ""


def compare_all(given: Iterator[Answers]) -> dict[tuple[str, str], dict[str, Furthest]]:
    """By task and metric, then by rival."""
    found: dict[tuple[str, str], dict[str, Furthest]] = {}
    for one in given:
        ours = from_summaries(one)
        for rival, measure in (("scikit-learn", by_scikit_learn), ("Evidently", by_evidently)):
            for metric, value in measure(one).items():
                _keep(
                    found.setdefault((one.task, metric), {}),
                    rival,
                    abs(ours[metric] - float(value)),
                    one.name,
                )
    return found


def compare_queries(rng: np.random.Generator) -> dict[tuple[str, str], dict[str, Furthest]]:
    """Rank made-up queries, half of them with tied scores; without ties for MRR and hit rate, which define no other."""
    found: dict[tuple[str, str], dict[str, Furthest]] = {}
    for ties in (False, True):
        queries = np.repeat(np.arange(400), rng.integers(2, 30, 400))
        scores = rng.normal(size=queries.size)
        scores = scores.round(1) if ties else scores
        relevance = rng.integers(0, 4, queries.size) * (rng.random(queries.size) < 0.3)
        measured = measure_queries(summarise_queries(queries, scores, relevance))
        lists = [(scores[queries == one], relevance[queries == one]) for one in range(400)]
        lists = [(s, r) for s, r in lists if (r > 0).any()]
        exact = {
            "ndcg": [metrics.ndcg_score([r], [s]) for s, r in lists],
            "ndcg_at_10": [metrics.ndcg_score([r], [s], k=10) for s, r in lists],
            "mean_average_precision": [
                metrics.label_ranking_average_precision_score([r > 0], [s]) for s, r in lists
            ],
        }
        if not ties:
            places = [1 + int(np.argmax(r[np.argsort(-s)] > 0)) for s, r in lists]
            exact |= {
                "mrr": [1 / place for place in places],
                "hit_rate_at_10": [place <= 10 for place in places],
            }
        for metric, values in exact.items():
            ours = measured[metric].value or 0.0
            rival = "NumPy" if metric in ("mrr", "hit_rate_at_10") else "scikit-learn"
            _keep(
                found.setdefault(("ranking", metric), {}),
                rival,
                abs(ours - float(np.mean(values))),
                "queries",
            )
    return found


def _keep(rivals: dict[str, Furthest], rival: str, difference: float, name: str) -> None:
    known = rivals.setdefault(rival, Furthest())
    if difference >= known.difference:
        known.difference, known.where = difference, name

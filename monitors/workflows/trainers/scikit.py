"""The scikit-learn trainers: a classifier, or a regressor where the task is regression."""

from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from monitors.workflows.trainers.data import TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.pipeline import (
    fit_linear_pipeline,
    fit_tree_pipeline,
    parameters_of,
)


def random_forest(job: TrainingJob, data: TrainingData) -> TrainedModel:
    """Fit a forest that stays small: leaves of 40 rows, each tree on at most 20,000 of them."""
    chosen = parameters_of(job, "sklearn_random_forest")
    build = RandomForestRegressor if job.task == "regression" else RandomForestClassifier
    estimator = build(
        n_estimators=chosen["trees"],
        min_samples_leaf=chosen["min_leaf"],
        max_depth=chosen["max_depth"],
        max_samples=min(chosen["tree_rows"], len(data)),
        max_features=chosen["max_features"],
        random_state=job.seed,
    )
    return fit_tree_pipeline(job, data, estimator)


def gradient_boosting(job: TrainingJob, data: TrainingData) -> TrainedModel:
    """Fit shallow boosted trees, each on at most 20,000 rows."""
    chosen = parameters_of(job, "sklearn_gradient_boosting")
    build = GradientBoostingRegressor if job.task == "regression" else GradientBoostingClassifier
    estimator = build(
        n_estimators=chosen["trees"],
        min_samples_leaf=chosen["min_leaf"],
        max_depth=chosen["max_depth"],
        subsample=min(1.0, chosen["tree_rows"] / len(data)),
        learning_rate=chosen["learning_rate"],
        random_state=job.seed,
    )
    return fit_tree_pipeline(job, data, estimator)


def logistic_regression(job: TrainingJob, data: TrainingData) -> TrainedModel:
    """Fit a penalised linear model: logistic for classes, ridge for numbers."""
    chosen = parameters_of(job, "sklearn_logistic_regression")
    if job.task == "regression":
        return fit_linear_pipeline(job, data, Ridge(alpha=chosen["penalty"]))
    return fit_linear_pipeline(job, data, LogisticRegression(C=1.0 / chosen["penalty"], max_iter=500))

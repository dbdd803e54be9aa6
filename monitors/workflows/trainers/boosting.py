"""The LightGBM trainer."""

from lightgbm import LGBMClassifier, LGBMRegressor

from monitors.workflows.trainers.data import TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.pipeline import fit_tree_pipeline, parameters_of


def lightgbm(job: TrainingJob, data: TrainingData) -> TrainedModel:
    """Fit boosted trees with LightGBM."""
    chosen = parameters_of(job, "lightgbm")
    build = LGBMRegressor if job.task == "regression" else LGBMClassifier
    estimator = build(
        n_estimators=chosen["trees"],
        min_child_samples=chosen["min_leaf"],
        num_leaves=chosen["leaves"],
        learning_rate=chosen["learning_rate"],
        colsample_bytree=chosen["feature_share"],
        subsample=chosen["row_share"],
        subsample_freq=1,
        reg_lambda=chosen["penalty"],
        random_state=job.seed,
        deterministic=True,
        force_col_wise=True,
        n_jobs=1,
        verbosity=-1,
    )
    return fit_tree_pipeline(job, data, estimator)

"""Runs in an environment that has one framework: `python pushes.py FRAMEWORK URL TOKEN FOLDER`.

Fits a small model, pushes it, and leaves rows and the model's own answers to them in FOLDER.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import driftline_client

ROWS = np.random.default_rng(4).normal(size=(300, 4)).astype(np.float32)
LATE = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)


def xgboost() -> tuple[Any, Any, dict[str, Any]]:
    from xgboost import XGBClassifier

    gappy = np.where(np.random.default_rng(5).random(ROWS.shape) < 0.1, np.float32(np.nan), ROWS)
    model = XGBClassifier(n_estimators=20).fit(gappy, LATE)
    return model, gappy, {"answers": model.predict_proba(gappy)}


def pytorch() -> tuple[Any, Any, dict[str, Any]]:
    import torch

    torch.manual_seed(0)
    nn = torch.nn
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2), nn.Softmax(dim=1)]
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        answers = model(torch.from_numpy(ROWS)).numpy()
    model.train()  # as it is in the middle of a training
    return model, ROWS, {"answers": answers, "classes": ["on time", "late"]}


def keras() -> tuple[Any, Any, dict[str, Any]]:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy")
    model.fit(ROWS, LATE, epochs=2, verbose=0)
    answers = model.predict(ROWS, verbose=0)
    return model, ROWS, {"answers": answers, "classes": ["on time", "late"]}


def main(framework: str, url: str, token: str, folder: str) -> None:
    model, rows, told = {"xgboost": xgboost, "pytorch": pytorch, "keras": keras}[framework]()
    np.savez(Path(folder) / "answers.npz", rows=rows, answers=told.pop("answers"))
    pushed = driftline_client.push(framework, model, rows, task="binary", url=url, token=token, **told)
    assert getattr(model, "training", True), "A push must not change the mode of the caller's module."
    print(pushed.version, pushed.parity.described())


if __name__ == "__main__":
    main(*sys.argv[1:])

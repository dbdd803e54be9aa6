"""Vehicles: images are logged as embeddings, and an embedding is one feature, a vector.

A camera reads digits, such as those of speed signs. What Driftline gets of an image is its embedding, a list of
32 numbers, how bright and how sharp it is, and the camera's name; no pixel leaves the vehicle. Of images that
Driftline itself answers, it measures the latter two (docs/guides/vectors.md). On the last days the rear camera
is out of focus and looks into the dark. The images are real handwritten digits of scikit-learn, which ships no
signs, shown again with some noise; the embedding is their projection onto 32 principal components, where a
vehicle would take the last layer of its network.

    python docs/examples/vehicles.py      # against a Driftline that runs; see shared.py
"""

import numpy as np
import pandas as pd
from scipy.ndimage import laplace
from shared import DAY, TODAY, Driftline, days, rows, rows_of, times
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from driftline_client import ModelHandle

DAYS = 8
IMAGES_A_DAY = 400
NIGHT_BEGAN = 3  # days ago
DIMENSION = 32
WHITE = 16
FEATURES = ["image", "brightness", "sharpness", "camera"]
DIGITS = load_digits()
SPLIT = len(DIGITS.images) // 2  # the first half trains, the second is seen on the road


def dim_and_blur(images: np.ndarray) -> np.ndarray:
    """Average each pixel with its neighbours, and take away half of the light."""
    moved = [np.roll(images, step, axis) for axis in (1, 2) for step in (-1, 0, 1)]
    return 0.5 * np.mean(moved, axis=0)


class Camera:
    """The model of the vehicle: an embedding, and a classifier upon it."""

    def __init__(self) -> None:
        pixels = DIGITS.images[:SPLIT].reshape(SPLIT, -1)
        self.embedding = PCA(DIMENSION, random_state=1).fit(pixels)
        self.classifier = LogisticRegression(max_iter=2_000).fit(
            self.embedding.transform(pixels), DIGITS.target[:SPLIT]
        )

    def see(self, count: int, seed: int, *, night: bool = False) -> pd.DataFrame:
        """Take images of the road; return their embeddings, what the classifier reads, and what they are."""
        rng = np.random.default_rng(seed)
        chosen = rng.integers(SPLIT, len(DIGITS.images), count)
        camera = rng.choice(["front", "rear"], count)
        images = DIGITS.images[chosen] + rng.normal(0, 0.7, (count, 8, 8))
        if night:
            images = np.where((camera == "rear")[:, None, None], dim_and_blur(images), images)
        vectors = self.embedding.transform(images.reshape(count, -1))
        bright, sharp = images.mean(axis=(1, 2)) / WHITE, [laplace(one / WHITE).var() for one in images]
        seen = pd.DataFrame(
            {"image": list(vectors.round(3)), "brightness": bright, "sharpness": sharp, "camera": camera}
        )
        shares = self.classifier.predict_proba(vectors).round(5)
        shares[:, 0] += 1 - shares.sum(axis=1)
        scores = pd.DataFrame(shares, columns=[f"probability_{digit}" for digit in range(10)])
        read = self.classifier.predict(vectors)
        return pd.concat([seen, scores], axis=1).assign(prediction=read, label=DIGITS.target[chosen])


def log_and_label(signs: ModelHandle, camera: Camera) -> None:
    """Log each day's images, and label one in two, as people do who look at a sample."""
    logged = []
    for ago in days(DAYS):
        count = rows_of(ago, IMAGES_A_DAY)
        day = camera.see(count, seed=100 + ago, night=ago <= NIGHT_BEGAN)
        logged.append(day.assign(id=[f"{ago}-{n}" for n in range(count)], timestamp=times(ago, count)))
    log = pd.concat(logged, ignore_index=True)
    signs.log_frame(
        log, id="id", timestamp="timestamp", features=FEATURES, prediction="prediction",
        probabilities={str(digit): f"probability_{digit}" for digit in range(10)},
    )  # fmt: skip
    signs.label_frame(log[::2], id="id", label="label")


def main() -> None:
    driftline = Driftline()
    camera = Camera()
    signs = driftline.create(
        "example-vehicles", "multiclass", segments=["camera"], objectives={"label_lag_hours": 0}
    )
    count = rows(7 * IMAGES_A_DAY)
    when = [TODAY - 20 * DAY + 7 * DAY * (place / count) for place in range(count)]
    signs.reference(camera.see(count, seed=2).assign(timestamp=when), wait_s=300)
    driftline.watch(signs)
    log_and_label(signs, camera)
    driftline.wait(signs)
    print(f"{DAYS} days of images, the last {NIGHT_BEGAN} with a dark rear camera: {driftline.page(signs)}")
    report(driftline, signs)


def report(driftline: Driftline, signs: ModelHandle) -> None:
    """Print what Driftline found: by camera, and in all that is kept of images together."""
    for name in ("front", "rear"):
        segment = f"camera:{name}"
        accuracy = driftline.points(signs, "accuracy", segment=segment)
        values = [f"{point['value']:.2f}" for point in accuracy if point["value"] is not None]
        print(f"accuracy of the {name} camera, day by day: {' '.join(values)}")
        found = driftline.call("GET", f"/models/{signs.name}/drift", segment=segment)
        [image] = [item for item in found["items"] if item["feature"] == "image"]
        moved = image["statistics"]["mean_shift"]["value"]
        print(f"  images {image['decision']}: their mean moved by {moved:.2f} of the usual spread")
        moved = [item["feature"] for item in found["items"] if item["decision"] == "drifted"]
        print(f"  what drifted: {', '.join(moved) or 'nothing'}")
    unlike = driftline.call("GET", f"/models/{signs.name}/changed-examples", feature="image")
    print("Images of the newest whole day that are unlike the reference:")
    for one in unlike["items"]:
        seen = driftline.call("GET", f"/models/{signs.name}/predictions/{one['id']}")["features"]
        nearest = ", ".join(str(row["row"]) for row in one["nearest"])
        print(f"  {one['id']} of the {seen['camera']} camera; nearest are rows {nearest} of the reference")
    driftline.wait_for(signs, "domain_auc")
    print("All features together, by a classifier that tells a day from the reference:")
    for point in driftline.points(signs, "domain_auc")[-5:]:
        if point["value"] is not None:
            print(f"  {point['start'][:10]} AUC {point['value']:.2f}, {point['status']}")
    driftline.print_incidents(signs)


if __name__ == "__main__":
    main()

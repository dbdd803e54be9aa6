"""Train a logistic regression with Dask on a snapshot that no worker could hold: a part of it at a time on each.

It takes the order of Driftline on its standard input, and needs dask, distributed, pandas, pyarrow, scikit-learn and
skl2onnx: `python cluster_training.py < order.json`. DASK_SCHEDULER names a cluster; without it two workers start here,
each with DASK_WORKER_MEMORY (600MiB).
"""

import hashlib
import io
import json
import os
import sys
import urllib.error
import urllib.request
from functools import partial

import numpy as np
import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster
from pyarrow.fs import FileSystem
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

TENSORS = {"FP32": FloatTensorType, "BYTES": StringTensorType}
BATCH_ROWS = 50_000  # of a part that are in memory as numbers
MAX_PASSES = 10
TOLERANCE = 1e-8  # of the mean loss, between two passes


class Rows:
    """How a worker reads a part, and turns it into what the model learns from."""

    def __init__(self, job, token):
        self.job, self.token = job, token
        self.texts = [feature["name"] for feature in job["features"] if feature["type"] == "string"]
        self.numbers = [feature["name"] for feature in job["features"] if feature["type"] != "string"]

    def read(self, part):
        """Read one part in batches, from the store with the worker's own credentials, or from Driftline.

        A damaged part is refused.
        """
        if part["url"].startswith("http"):
            content = call(part["url"], self.token)
        else:
            store, path = FileSystem.from_uri(part["url"])
            with store.open_input_file(path) as file:
                content = file.read(file.size())  # one request
        assert hashlib.sha256(content).hexdigest() == part["sha256"], f"{part['url']} is damaged"
        for batch in pq.ParquetFile(io.BytesIO(content)).iter_batches(BATCH_ROWS):
            rows = batch.to_pandas()
            for name in self.texts:
                rows[name] = rows[name].fillna(self.job["missing"].get(name, "missing"))
            yield rows

    def facts(self, part):
        """Return sums and counts of the numbers, and the values of the texts, of one part."""
        total, count, values = 0, 0, {name: set() for name in self.texts}
        for rows in self.read(part):
            total, count = total + rows[self.numbers].sum(), count + rows[self.numbers].count()
            for name in self.texts:
                values[name].update(rows[name].unique())
        return total, count, values

    def encoder(self, facts, sample):
        """Make what encodes rows alike on every worker and in the ONNX, from the facts of all parts."""
        values = [sorted(set().union(*(found[name] for _, _, found in facts))) for name in self.texts]
        encode = make_column_transformer(
            (OneHotEncoder(categories=values, handle_unknown="ignore"), self.texts),
            (SimpleImputer(), self.numbers),
            sparse_threshold=0,
        ).fit(sample)
        means = sum(total for total, _, _ in facts) / sum(count for _, count, _ in facts)
        encode.named_transformers_["simpleimputer"].statistics_ = means.to_numpy()
        return encode

    def terms(self, part, encode, weights):
        """Return loss, gradient and Hessian of one part, all that leaves a worker."""
        loss, gradient, hessian = 0, 0, 0
        for rows in self.read(part):
            design = np.column_stack([encode.transform(rows), np.ones(len(rows))])
            is_second = (rows["label"] == self.job["classes"][1]).to_numpy()
            score = design @ weights
            chance = 1 / (1 + np.exp(-score))
            loss = loss + np.logaddexp(0, np.where(is_second, -score, score)).sum()
            gradient = gradient + design.T @ (chance - is_second)
            hessian = hessian + (design.T * (chance * (1 - chance))) @ design
        return loss, gradient, hessian


def train(order, client):
    """Fit by Newton's method: each pass reads every part once, and adds up what the workers found in theirs."""
    job, parts, count = order["job"], order["snapshot"]["parts"], order["snapshot"]["rows"]
    rows = Rows(job, order["callback"]["token"])
    facts = client.gather(client.map(rows.facts, parts, pure=False))
    encode = rows.encoder(
        facts, client.submit(lambda part: next(rows.read(part)).head(100), parts[0]).result()
    )
    weights = np.zeros(len(encode.get_feature_names_out()) + 1)
    penalty = np.full(len(weights), job["parameters"].get("l2", 1.0))
    penalty[-1] = 0  # the intercept
    before = np.inf
    for number in range(1, MAX_PASSES + 1):
        found = client.gather(
            client.map(partial(rows.terms, encode=encode, weights=weights), parts, pure=False)
        )
        loss, gradient, hessian = (sum(terms) for terms in zip(*found, strict=True))
        report(order, number / (MAX_PASSES + 1), f"pass {number}: mean loss {loss / count:.6f}")
        if before - loss / count < TOLERANCE:
            break
        before = loss / count
        weights -= np.linalg.solve(hessian + np.diag(penalty), gradient + penalty * weights)
    return export(encode, weights, job)


def export(encode, weights, job):
    """Write the model as ONNX, with one input for each feature as the champion has them."""
    model = LogisticRegression()
    model.classes_ = np.array(job["classes"])
    model.coef_, model.intercept_ = weights[None, :-1], weights[-1:]
    inputs = [(spec["name"], TENSORS[spec["datatype"]]([None, 1])) for spec in job["layout"]["inputs"]]
    onnx = to_onnx(make_pipeline(encode, model), initial_types=inputs, options={"zipmap": False})
    return onnx.SerializeToString()


def call(url, token, body=None, kind="application/json"):
    headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": kind} if body is not None else {})
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return answer.read()


def report(order, progress, message):
    body = json.dumps({"progress": progress, "message": message}).encode()
    call(order["callback"]["progress"], order["callback"]["token"], body)


def main():
    order = json.load(sys.stdin)
    callback, token = order["callback"], order["callback"]["token"]
    scheduler = os.environ.get("DASK_SCHEDULER") or LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=os.environ.get("DASK_WORKER_MEMORY", "600MiB"),
        dashboard_address=None,
    )
    try:
        with Client(scheduler) as client:
            onnx = train(order, client)
        call(callback["artifact"], token, onnx, "application/octet-stream")
    except urllib.error.HTTPError as refusal:
        detail = refusal.read().decode()
        if refusal.code != 409:  # which says that the run does not wait any more
            reason = f"Driftline refused: {detail}"[:500]
            call(callback["failed"], token, json.dumps({"reason": reason}).encode())
        sys.exit(detail)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:500]
        call(callback["failed"], token, json.dumps({"reason": reason}).encode())
        raise


if __name__ == "__main__":
    main()

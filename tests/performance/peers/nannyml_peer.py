"""NannyML behind a pipe: reads questions as lines of JSON, answers each with a line of JSON; see `nannyml_rival.py`.

A question says what to `fit` (a class of NannyML, its arguments and the Parquet file of a reference), or which of
the fitted ones shall `measure` the Parquet file of later rows; a drift calculator may be asked for the `distances` of
some of its columns, with the rows as one chunk.
"""

import json
import os
import sys
import traceback
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # it tells its makers of each call otherwise

import nannyml
import pandas as pd


def fit(question):
    kind = getattr(nannyml, question["fit"])
    return kind(**question["arguments"]).fit(pd.read_parquet(question["rows"]))


def measure(fitted, question):
    """Give the results of each chunk by names such as `key`, `f1.value` and `age.jensen_shannon.alert`."""
    rows = pd.read_parquet(question["rows"])
    run = fitted.estimate if hasattr(fitted, "estimate") else fitted.calculate
    table = run(rows).filter(period="analysis").to_df()
    table.columns = [".".join(part for part in name if part != "chunk") for name in table.columns]
    return json.loads(table.to_json(orient="records", double_precision=15))


def distances(calculator, question):
    """Give what the calculator's own methods say of each column that the rows have; None where they have no value."""
    rows = pd.read_parquet(question["rows"])
    said = {
        name: [method.calculate(rows[name]) for method in calculator._column_to_models_mapping[name]]
        for name in rows
    }
    return {
        name: [None if value != value else float(value) for value in values] for name, values in said.items()
    }


def answer(question, fitted):
    try:
        if "fit" in question:
            fitted.append(fit(question))
            return {"number": len(fitted) - 1}
        if question.get("distances"):
            return {"distances": distances(fitted[question["number"]], question)}
        return {"chunks": measure(fitted[question["number"]], question)}
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}


def main():
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what it prints itself is no answer
    fitted = []
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), fitted)), file=answers, flush=True)


if __name__ == "__main__":
    main()

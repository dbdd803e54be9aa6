"""Writes a logistic regression as TorchScript; runs in TorchServe's environment.

Usage: torch_model.py COEFFICIENTS OUT, where COEFFICIENTS is a file of JSON: {"weights": [...], "bias": ...}.
"""

import json
import sys
from pathlib import Path

import torch


def main(coefficients: str, path: str) -> None:
    told = json.loads(Path(coefficients).read_text())
    linear = torch.nn.Linear(len(told["weights"]), 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([told["weights"]]))
        linear.bias.copy_(torch.tensor([told["bias"]]))
    torch.jit.script(torch.nn.Sequential(linear, torch.nn.Sigmoid())).save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

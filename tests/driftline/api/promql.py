"""What a query of Prometheus asks for, read well enough for the queries of our boards."""

import re
from collections.abc import Iterator


def metrics_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Find the metrics of an expression, each with the labels by which it is chosen and grouped."""
    grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(", ")}
    plain = re.sub(r'"[^"]*"|by \([^)]*\)|\[[^]]*\]', "", expression)
    plain = re.sub(r"\w+\s*\(", "(", plain)
    for name, choice in re.findall(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?", plain):
        yield name, grouped | set(re.findall(r"(\w+)\s*[=!]", choice))

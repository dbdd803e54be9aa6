"""Packages that only some installations use: what each extra is for, whether it is there, and how it is added.

Their names are those of `[project.optional-dependencies]` in pyproject.toml. A module that imports an extra is itself
imported where its feature is used, never at the start.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from driftline.base.errors import Problem


@dataclass(frozen=True)
class Extra:
    """One extra; `feature` is the subject of the sentence that says that it is missing."""

    name: str
    feature: str
    modules: tuple[str, ...]


APPRISE = Extra("apprise", "A channel of Apprise", ("apprise",))
KAFKA = Extra("kafka", "Kafka", ("confluent_kafka", "fastavro"))
MQTT = Extra("mqtt", "MQTT", ("paho.mqtt",))
NATS = Extra("nats", "NATS", ("nats",))
OTLP = Extra("otlp", "Sending traces", ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
PDF = Extra("pdf", "An evidence pack as PDF", ("typst",))
SAML = Extra("saml", "Sign-in over SAML", ("onelogin.saml2", "xmlsec", "lxml"))
SQL = Extra("sql", "Reading MariaDB or MySQL", ("pymysql",))
EXTRAS = (APPRISE, KAFKA, MQTT, NATS, OTLP, PDF, SAML, SQL)


class ExtraMissing(Problem):
    """A feature was asked for whose packages are not installed."""

    def __init__(self, extra: Extra) -> None:
        super().__init__(501, "extra_missing", describe_missing(extra))


def is_installed(extra: Extra) -> bool:
    """Return whether the packages of an extra are there, without importing them."""
    return all(map(_is_found, extra.modules))


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what the module is in is not there
        return False


def require(extra: Extra) -> None:
    """Raise ExtraMissing unless the packages of an extra are there."""
    if not is_installed(extra):
        raise ExtraMissing(extra)


def command_for(*extras: Extra) -> str:
    """Return the command that adds extras."""
    names = " ".join(extra.name for extra in extras)
    return f'make extra ADD="{names}"' if " " in names else f"make extra ADD={names}"


def describe_missing(extra: Extra) -> str:
    """Return the sentence that says which command adds an extra."""
    return (
        f"{extra.feature} needs packages that are not installed: run {command_for(extra)} where Driftline is "
        "installed, and restart it."
    )

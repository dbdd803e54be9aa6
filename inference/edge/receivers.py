"""Connects devices to the registry: a version that is on devices cannot be put aside."""

from inference.edge.releases import use_on_devices
from inference.registry import hooks

hooks.use_on_devices.provide(use_on_devices)

"""Connects devices to the registry: a version on devices cannot be put aside, and devices may ask the server."""

from inference.edge.credentials import list_tokens
from inference.edge.releases import use_on_devices
from inference.registry import hooks

hooks.use_on_devices.provide(use_on_devices)
hooks.list_device_tokens.provide(list_tokens)

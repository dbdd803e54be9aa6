"""Connects devices to the registry: they may ask the server."""

from inference.edge.credentials import list_tokens
from inference.registry import hooks

hooks.list_device_tokens.provide(list_tokens)

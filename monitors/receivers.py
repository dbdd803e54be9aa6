"""Rings the first doorbell when predictions or labels arrive."""

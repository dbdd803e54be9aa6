"""The Django project: what may import everything, and the floor that imports nobody."""

from driftline.common import telemetry as telemetry

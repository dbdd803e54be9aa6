from driftline.common import telemetry as telemetry

import driftline as driftline  # turns telemetry off before a test or a benchmark loads a library

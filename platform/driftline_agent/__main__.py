"""`python -m driftline_agent`."""

from driftline_agent.cli import main

main()

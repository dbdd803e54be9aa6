"""The server's side of devices: which exist, which version each of them answers with, and what they send back.

A person makes a device in a group and gets a code, which the agent (`platform/driftline_agent`) changes for a token.
The agent then polls its assignment: a signed manifest of the version that the group's newest release brings. A release
goes over the devices ring by ring, and stops by itself where too many of them fail.

Input: codes and tokens, what agents report, and rows that models on devices predicted.
Output: signed manifests, artifacts, rows in the prediction log, audit rows. Summaries of devices are added by
`monitors.device_summaries`.

Start with `releases.py`; `api.py` has the routes of people and `agent_api.py` those of agents, which `nats_gateway.py`
opens to devices that reach a server of NATS alone.
"""

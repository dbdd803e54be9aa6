"""The agent on devices: answers with a model of Driftline without a network, and needs no Django.

    driftline-agent enrol URL CODE
    driftline-agent run

It polls its assignment, which is signed, and changes the model without a gap: download, proof, swap, and back by itself
where the new one fails. Each answer's rows are in SQLite before it leaves, and go to the server in batches, or are
added up by the hour.

Input: signed manifests and files from the server; requests of programs on the device, by the Open Inference Protocol.
Output: answers, rows of predictions called `<device>-<sequence>`, summaries of hours, and the device's state.

Start with `agent.py`.
"""

__version__ = "0.1.0"

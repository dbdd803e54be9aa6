"""What the protocols tell of the server and its models: health, metadata, repository and statistics.

Input: requests that run no model.
Output: answers from the plan and from the status files of all serving processes.

Start with `metadata.py` for version 2 of the protocol, or `v1_metadata.py` for version 1.
"""

"""Takes hourly summaries of rows that devices did not send whole: what joins devices to the summaries.

Input: batches of windows that an agent summarised, with its token.
Output: the windows in the summaries of the device's model, as `monitors.summaries.uploads` adds them.

Start with `api.py`.
"""

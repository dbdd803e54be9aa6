"""JSON of requests and answers, whichever protocol it is of.

Input: bodies of requests, and outputs of models.
Output: arrays of a version's inputs, and JSON values; what is wrong is refused with its place.

Start with `json_documents.py`.
"""

"""Servers of others that several features use: clusters of Kafka, and stores of objects.

Input: where one is, as people set it. Output: a connection to an address that may be called, or
`ConnectorFailed`, which says why there is none.

Start with `objects/store.py` and `kafka/settings.py`.
"""

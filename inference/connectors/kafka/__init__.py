"""Clusters of Kafka, from which sources read and to which the sink sends.

Kafka's library is loaded where one is called, not where its settings are checked.

Start with `settings.py`, then `connection.py`.
"""

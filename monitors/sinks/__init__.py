"""Sends what is stored to topics of Kafka, so that other systems need not ask for it.

That is predictions, labels, metric points and events of a project, each at least once, with a key by which receivers
drop doubles.

Input: rows that their stores mark as unsent in the commit that stores them: a flag of `PredictionChunk` with
`UnsentChunk` once it is packed, `UnsentLabel`, `UnsentPoints`, and the numbers of the feed. So nothing depends on the
order in which transactions commit.
Output: messages of JSON. What is marked is marked as sent once the brokers have acknowledged all of its messages.

Start with `models.py`, then `sending.py` (the loop, run by `manage.py consume`), and the folder `streams`.
"""

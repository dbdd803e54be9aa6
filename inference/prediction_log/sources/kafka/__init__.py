"""Topics of Kafka: the consumer group hands partitions out, and the table says where each is read on.

Input: brokers, topics and how to sign in, as people set them. Output: messages. Kafka's library is loaded only where a
topic is read.

Start with `settings.py`, then `adapter.py`.
"""

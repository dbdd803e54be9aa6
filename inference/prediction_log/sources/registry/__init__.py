"""Messages in Avro or Protobuf with schemas in a schema registry, as Confluent's clients write them.

Input: a message of which the value begins with a zero byte and the number of its schema. Output: the same message with
its value as JSON, or with the fault for which it becomes a dead letter. While the registry does not answer, the source
waits: nothing is decided of its messages then.

Start with `decoding.py`; `client.py` asks the registry, `avro.py` and `protobuf.py` read values.
"""

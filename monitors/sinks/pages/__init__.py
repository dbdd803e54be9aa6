"""The pages of the sink: where a project's rows and events are sent, and how each stream stands.

Input: what people choose. Output: the settings of the sink, kept and tried by its services.

Start with `sink.py`.
"""

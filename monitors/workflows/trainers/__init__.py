"""Trainers: a snapshot of labelled data in, an ONNX model with its evidence out.

Pure: no Django, no database, no broker. A trainer runs in a subprocess (`launch`, `child`) with none of
the platform's credentials.
"""

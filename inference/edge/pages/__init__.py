"""The pages of devices: their groups, what runs on each, and releases to them.

Input: what people choose. Output: devices, groups and releases, made by the services of `edge`.

Start with `devices.py`.
"""

"""How much an installation takes in and holds, and when its disks are full.

Input: the sizes that the hourly tick notes (`samples.py`, `log_archive.py`), and the tables of summaries and chunks,
which say how many predictions they stand for: no prediction is read. Output: figures (`figures.py`) and sentences
(`wording.py`), for `manage.py doctor --capacity` and the first page of the admin.

Start with `figures.py`.
"""

"""Headers of pages, and static files.

Each module has one middleware: what browsers may do (`permissions_policy.py`, `admin_policy.py`), what caches may keep
(`cache_control.py`), and files that an ASGI server sends whole (`static_files.py`).

Start with `cache_control.py`.
"""

"""What answers, bounds or refuses a request in front of Django.

Input: ASGI connections. Output: probes and logged rows answered at once, and places for all other requests.

Start with `request_pools.py`.
"""

"""Notifications: which channels hear of an event, when, and the outbox that delivers.

Input: events of incidents and of the feed.
Output: deliveries, written with the change that caused them and sent until they are taken.

Start with `notifying.py`, then `outbox.py`.
"""

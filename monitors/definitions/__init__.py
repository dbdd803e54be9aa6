"""What is watched: monitors, references, expectations of features, and segments.

Input: models and deployments (by signals of the registry), uploaded references, and what people say through API and
pages.
Output: references that are reduced to summaries and thresholds, segments for the summaries, and signals that tell
later stages what changed (`signals.py`).

Start with `models.py`, then `services.py`; `choosing.py` decides which reference a version is compared with.
"""

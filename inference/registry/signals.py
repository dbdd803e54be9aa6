"""Sent inside the writing transaction, so that later stages can react without being imported here."""

from django.dispatch import Signal

model_created = Signal()  # model
deployment_changed = Signal()  # deployment, change
reference_stored = Signal()  # dataset
privacy_changed = Signal()  # model
rows_no_longer_kept = Signal()  # model
dataset_rewritten = Signal()  # dataset, which has fewer rows since an erasure

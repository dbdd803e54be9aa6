"""Sent inside the writing transaction, so that later stages can react without being imported here."""

from django.dispatch import Signal

model_created = Signal()  # model
version_created = Signal()  # version, actor
deployment_changed = Signal()  # deployment, change
reference_stored = Signal()  # dataset
signature_learnt_again = Signal()  # version, of which a new reference has other columns
classes_changed = Signal()  # version, which has other classes or another positive class
privacy_changed = Signal()  # model
text_features_changed = Signal()  # model
rows_no_longer_kept = Signal()  # model
dataset_rewritten = Signal()  # dataset, which has fewer rows since an erasure

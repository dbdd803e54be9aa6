"""The route of the optimiser's table."""

from django.urls import path

from monitors.optimiser.pages import variants

urlpatterns = [path("models/<name>/versions/<version>/variants", variants.variants, name="variants")]

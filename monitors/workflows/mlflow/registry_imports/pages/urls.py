"""The routes of the pages of registry imports."""

from django.urls import path

from monitors.workflows.mlflow.registry_imports.pages import mlflow_imports

urlpatterns = [
    path("mlflow-imports/", mlflow_imports.mlflow_imports, name="mlflow_imports"),
    path("mlflow-imports/<int:pk>", mlflow_imports.mlflow_import, name="mlflow_import"),
]

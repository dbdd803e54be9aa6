"""The route of the page of MLflow."""

from django.urls import path

from monitors.workflows.mlflow.pages import mlflow

urlpatterns = [path("models/<name>/mlflow", mlflow.mlflow, name="mlflow")]

"""The routes of the pages of devices."""

from django.urls import path

from inference.edge.pages import devices

urlpatterns = [
    path("devices/", devices.devices, name="devices"),
    path("devices/groups/<int:pk>", devices.group, name="device_group"),
    path("devices/<int:pk>/code", devices.code, name="device_code"),
    path("devices/<int:pk>/revoke", devices.revoke, name="device_revoke"),
]

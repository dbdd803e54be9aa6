"""Where a sign-in starts, where the provider sends people back to, and where it says that they left."""

from django.urls import path

from driftline.sign_in.single_sign_on import views

urlpatterns = [
    path("oidc/<slug:provider_id>/login/", views.login, name="openid_connect_login"),
    path("oidc/<slug:provider_id>/login/callback/", views.callback, name="openid_connect_callback"),
    path("oidc/<slug:provider_id>/logout/", views.back_channel_logout, name="back_channel_logout"),
    path("signed-out/", views.signed_out, name="signed_out"),
]

"""Where a sign-in by SAML starts, where the provider sends people back to, and where it says that they left."""

from django.urls import path

from driftline.sign_in.single_sign_on.saml import views

urlpatterns = [
    path("saml/<slug:provider_id>/login/", views.login, name="saml_login"),
    path("saml/<slug:provider_id>/response/", views.receive_response, name="saml_response"),
    path("saml/<slug:provider_id>/finish/", views.finish, name="saml_finish"),
    path("saml/<slug:provider_id>/logout/", views.logout, name="saml_logout"),
    path("saml/<slug:provider_id>/metadata/", views.metadata, name="saml_metadata"),
]

"""Beside allauth's pages: one's profile and sessions."""

from django.urls import path
from django.views.i18n import set_language

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.profile, name="profile"),
    path("language/", set_language, name="language"),
    path("session/", views.session, name="session"),
    path("sessions/", views.sessions, name="sessions"),
    path("sign-in-link/<str:token>/", views.sign_in_link, name="sign_in_link"),
    path("sessions/end/", views.end_other_sessions, name="end_other_sessions"),
    path("sessions/<str:handle>/end/", views.end_session, name="end_session"),
]

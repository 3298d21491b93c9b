"""Which app answers for which address."""

from django.contrib import admin
from django.urls import include, path

handler500 = "config.outage.server_error"
urlpatterns = [
    path("", include("rooms.urls")),
    path("", include("messaging.urls")),
    path("accounts/", include("accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

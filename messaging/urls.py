from django.urls import path

from messaging import views

app_name = "messaging"
urlpatterns = [
    path("rooms/<str:slug>/", views.room, name="room"),
    path("rooms/<str:slug>/log/", views.log, name="log"),
]

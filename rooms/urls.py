from django.urls import path

from rooms import views

app_name = "rooms"
urlpatterns = [
    path("", views.home, name="home"),
    path("welcome/", views.welcome, name="welcome"),
    path("rooms/", views.index, name="index"),
    path("rooms/new/", views.create, name="create"),
    path("rooms/<str:slug>/join/", views.join, name="join"),
    path("rooms/<str:slug>/leave/", views.leave, name="leave"),
    path("rooms/<str:slug>/kick/", views.kick, name="kick"),
    path("rooms/<str:slug>/role/", views.role, name="role"),
    path("rooms/<str:slug>/topic/", views.topic, name="topic"),
    path("rooms/<str:slug>/clear/", views.clear, name="clear"),
    path("rooms/<str:slug>/restore/", views.restore, name="restore"),
    path("rooms/<str:slug>/delete/", views.delete_room, name="delete_room"),
]

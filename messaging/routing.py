from channels.routing import URLRouter
from channels.security.websocket import OriginValidator
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.urls import path, re_path

from messaging.consumers import NowhereConsumer, RoomConsumer, RoomsConsumer

sockets = URLRouter(
    [
        path("ws/rooms/", RoomsConsumer.as_asgi()),
        path("ws/rooms/<str:slug>/", RoomConsumer.as_asgi()),
        re_path("", NowhereConsumer.as_asgi()),
    ]
)
# Full origins: scheme, host and port. Who sends none, or another, is no page of ours.
application = OriginValidator(CookieMiddleware(sockets), settings.ORIGINS)

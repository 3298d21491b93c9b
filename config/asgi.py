"""What a server serves: pages and static files over HTTP, rooms over WebSocket."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # loads the apps, which the imports below need

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.db import connection

from config.server.page_limit import PageLimit
from config.server.probes import Probes
from config.server.static import StaticFiles
from messaging.live import runtime
from messaging.routing import application as rooms

connection.settings_dict["OPTIONS"] |= settings.SERVING_DATABASE_OPTIONS

router = ProtocolTypeRouter(
    {"http": Probes(StaticFiles(PageLimit(pages))), "websocket": rooms},
)


async def application(scope, receive, send):
    runtime.start()  # once; ASGI's lifespan, its natural place, is not in Daphne
    await router(scope, receive, send)

"""The consumer of the Channels tutorial, on the Redis layer: `PORT REDIS_URL LAYER`."""

import json
import sys

from django.conf import settings

port, redis_url, layer = sys.argv[1:]
settings.configure(
    SECRET_KEY="benchmark",
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": {
                "core": "channels_redis.core.RedisChannelLayer",
                "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
            }[layer],
            "CONFIG": {"hosts": [redis_url], "prefix": "stock"},
        }
    },
)

import django

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from daphne.server import Server


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("chat", self.channel_name)
        await self.accept()
        await self.send(text_data="ready")

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard("chat", self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        message = json.loads(text_data)["body"]
        event = {"type": "chat.message", "message": message}
        await self.channel_layer.group_send("chat", event)

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"body": event["message"]}))


Server(ChatConsumer.as_asgi(), endpoints=[f"tcp:{port}:interface=127.0.0.1"]).run()

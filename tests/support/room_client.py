"""What a room's page is to the server, without the page: for tests by real sockets."""

import asyncio
import contextlib
import itertools
import json

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from messaging import check_log

PATIENCE = 10  # seconds


@sync_to_async
def sign_in(user):
    """A session key of `user`."""
    client = Client()
    client.force_login(user)
    return client.session.session_key


@sync_to_async
def faults():
    """What is wrong in the logs of all rooms; [] if nothing is."""
    return [fault for rule in check_log.RULES for fault in check_log.faults(rule, 5)]


class SocketClient:
    """One socket, and all that came over it."""

    def __init__(self, server, path, session_key="", origin=None, **options):
        self.url = server.ws_url + path
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session_key}"}
        self._options = {
            "additional_headers": headers if session_key else {},
            "origin": server.url if origin is None else origin or None,
            "compression": None,
            "ping_interval": None,
            **options,
        }
        self.frames = []
        self.close_code = None
        self._news = asyncio.Condition()

    async def __aenter__(self):
        self.socket = await connect(self.url, **self._options)
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exception):
        with contextlib.suppress(Exception):
            await self.socket.close()
        await asyncio.wait([self._listening], timeout=PATIENCE)

    async def _listen(self):
        try:
            async for text in self.socket:
                self.frames.append(json.loads(text))
                await self._tell()
        except ConnectionClosed:
            pass
        self.close_code = self.socket.close_code
        await self._tell()

    async def _tell(self):
        async with self._news:
            self._news.notify_all()

    async def until(self, is_so, seconds=PATIENCE):
        """Wait until `is_so()`; its value."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(is_so)
        except TimeoutError:
            tail = json.dumps(self.frames[-6:])[:1500]
            raise AssertionError(f"not so; closed {self.close_code}; {tail}") from None
        return is_so()

    async def send(self, text):
        await self.socket.send(text)

    def drop(self):
        """The line is lost, without a word."""
        self.socket.transport.abort()

    async def closed(self, seconds=PATIENCE):
        return await self.until(lambda: self.close_code, seconds)

    def of_type(self, kind):
        return [frame for frame in self.frames if frame["type"] == kind]

    async def first(self, kind, **fields):
        """The first frame of that type with these fields."""

        def found():
            for frame in self.of_type(kind):
                if fields.items() <= frame.items():
                    return frame
            return None

        return await self.until(found)


class RoomClient(SocketClient):
    """A room's socket that keeps its cursor, and checks the protocol's promises."""

    keys = itertools.count(1)

    def __init__(self, server, room, session_key, cursor=None, **options):
        query = f"?after={cursor[1]}&epoch={cursor[0]}" if cursor else ""
        path = f"/ws/rooms/{room.slug}/{query}"
        super().__init__(server, path, session_key, **options)
        self.start = cursor and cursor[1]

    async def __aenter__(self):
        await super().__aenter__()
        await self.until(lambda: self.of_type("welcome") or self.close_code)
        if self.close_code:
            await self.__aexit__()
            raise AssertionError(f"not let in; closed {self.close_code}")
        self.welcome = self.of_type("welcome")[0]
        return self

    @property
    def events(self):
        return [event for frame in self.of_type("events") for event in frame["events"]]

    @property
    def seqs(self):
        """The numbers that came; AssertionError if one is missing, doubled or late."""
        seqs = [event["seq"] for event in self.events]
        if seqs:
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            resets = self.of_type("reset")
            first = resets[-1]["head"] if resets else self.start
            first = self.welcome["head"] if first is None else first
            assert seqs[0] == first + 1
        return seqs

    @property
    def cursor(self):
        resets = self.of_type("reset")
        start = self.welcome["head"] if self.start is None else self.start
        start = resets[-1]["head"] if resets else start
        return (self.welcome["epoch"], max([start, *self.seqs]))

    async def post(self, body, key=None):
        """Send it; the answer, which is an ack, a notice or an error."""
        key = key or f"key-{next(self.keys)}"
        before = len(self._answers(key))
        await self.send(json.dumps({"type": "post", "key": key, "body": body}))
        await self.until(lambda: self._answers(key)[before:] or self.close_code)
        answers = self._answers(key)[before:]
        assert answers, f"closed {self.close_code} before the answer"
        return answers[0]

    async def answer(self, key):
        """The first answer to what was posted with this key."""
        return (await self.until(lambda: self._answers(key)))[0]

    def _answers(self, key):
        return [frame for frame in self.frames if frame.get("key") == key]

    async def say(self, body, key=None):
        """Post it; its number."""
        answer = await self.post(body, key)
        assert answer["type"] == "ack", answer
        return answer["seq"]

    async def seen(self, seq):
        """Wait until everything up to `seq` has come."""
        await self.until(lambda: self.cursor[1] >= seq)

    async def event(self, kind, **fields):
        """The first event of that kind with these fields."""

        def found():
            for event in self.events:
                if event["kind"] == kind and fields.items() <= event.items():
                    return event
            return None

        return await self.until(found)

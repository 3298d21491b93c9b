"""What visitors do, again and again: come, talk and go, in all the ways there are."""

import asyncio
import json
import random

from asgiref.sync import sync_to_async
from django.conf import settings

from rooms.models import Room
from tests.lab.bench.stage import sessions
from tests.support.raw_websocket import CLOSE, connect, frame

PATIENCE = 15.0  # seconds
POSTS = 3
NORMAL = frame(b"\x03\xe8", CLOSE)  # 1000
CSRF = "t" * 32
PAGES = ["/", "/rooms/", "/rooms/{slug}/", "/rooms/{slug}/log/", "/nowhere/"]
PAGES += ["/accounts/login/", "/accounts/", "/static/nothing.js"]
FORM = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    "Cookie: {cookie}\r\nX-CSRFToken: {csrf}\r\nAccept: application/json\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
)
GET = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
    "Connection: close\r\n\r\n"
)


class Visitor:
    """A person, who is always signed in, and one of the rooms."""

    def __init__(self, server, user, slugs, seed):
        self.server, self.user, self.slugs = server, user, slugs
        self.dice = random.Random(seed)
        self.host = f"127.0.0.1:{server.port}"
        self.connections = self.posts = 0
        self._cookie = None

    async def stay(self, kind):
        """One coming and going, of a kind in STAYS."""
        if self._cookie is None:
            await self._sign_in()
        self.slug = self.dice.choice(self.slugs)
        async with asyncio.timeout(PATIENCE):
            await kind(self)

    async def _sign_in(self):
        [key] = await sync_to_async(sessions)([self.user])
        self._cookie = (
            f"{settings.SESSION_COOKIE_NAME}={key}; {settings.CSRF_COOKIE_NAME}={CSRF}"
        )

    # Kinds of stays -------------------------------------------------------------------

    async def talk_and_go(self):
        wire, heard = await self._open()
        await self._talk(wire, heard)
        wire.write(NORMAL)
        await wire.closed

    async def talk_and_be_lost(self):
        wire, heard = await self._open()
        await self._talk(wire, heard)
        wire.drop()

    async def be_lost_at_once(self):
        """Before the welcome, which is on its way; or before the handshake is done."""
        wire = await self._connect(lambda opcode, payload: None)
        await asyncio.sleep(self.dice.choice([0, 0.001, 0.005, 0.02]))
        wire.drop()

    async def be_lost_with_posts_unanswered(self):
        wire, _heard = await self._open()
        self._post(wire, POSTS)
        wire.drop()

    async def sign_out(self):
        """The session ends; so do its sockets."""
        wire, heard = await self._open()
        await self._talk(wire, heard)
        await self._ask(FORM, "/accounts/logout/")
        await self._closed(wire, 4401)
        self._cookie = None

    async def give_up_and_join_again(self):
        wire, heard = await self._open()
        await self._ask(FORM, f"/rooms/{self.slug}/leave/")
        await self._closed(wire, 4403)
        await self._ask(FORM, f"/rooms/{self.slug}/join/")

    async def look_at_list(self):
        wire, heard = await self._open("/ws/rooms/", b'"rooms"')
        wire.drop()

    async def be_refused(self):
        """No such room, or nobody one knows."""
        kept = self._cookie
        path, self._cookie, code = self.dice.choice(
            [("/ws/rooms/none/", kept, 4404), ("/ws/x/", kept, 4404)]
            + [(f"/ws/rooms/{self.slug}/", "sessionid=none", 4401)]
        )
        wire = await self._connect(lambda opcode, payload: None, path)
        self._cookie = kept
        await self._closed(wire, code)

    async def turn_pages(self):
        for path in self.dice.sample(PAGES, 2):
            await self._ask(GET, path.format(slug=self.slug))

    async def leave_while_page_loads(self):
        path = self.dice.choice(PAGES).format(slug=self.slug)
        await self._ask(GET, path, patience=self.dice.choice([0, 0.005]))

    async def say_half_a_word(self):
        """A connection that is no request yet, and never will be."""
        half = GET[: self.dice.randrange(30)].encode()
        await self._request(half, patience=0.01)

    STAYS = [
        talk_and_go,
        talk_and_go,
        talk_and_be_lost,
        be_lost_at_once,
        be_lost_with_posts_unanswered,
        sign_out,
        give_up_and_join_again,
        look_at_list,
        be_refused,
        turn_pages,
        leave_while_page_loads,
        say_half_a_word,
    ]

    # Steps ----------------------------------------------------------------------------

    async def _open(self, path=None, greeting=b'"welcome"'):
        """A socket that was welcomed, and the queue of what it hears."""
        heard = asyncio.Queue()
        wire = await self._connect(lambda opcode, text: heard.put_nowait(text), path)
        while greeting not in await heard.get():
            pass
        return wire, heard

    async def _connect(self, hear, path=None):
        self.connections += 1
        path = path or f"/ws/rooms/{self.slug}/"
        return await connect(self.server.port, path, self._cookie, hear)

    async def _talk(self, wire, heard):
        self._post(wire, POSTS)
        answered = 0
        while answered < POSTS:
            answered += b'"type":"ack"' in await heard.get()

    def _post(self, wire, count):
        for _nth in range(count):
            self.posts += 1
            key = f"{self.dice.getrandbits(80)}"
            post = {"type": "post", "key": key, "body": f"*hello* {key}"}
            wire.write(frame(json.dumps(post).encode()))

    async def _closed(self, wire, code):
        closed = await wire.closed
        assert closed == code, f"closed with {closed}, not {code}"

    async def _ask(self, form, path, patience=PATIENCE):
        head = form.format(path=path, host=self.host, cookie=self._cookie, csrf=CSRF)
        answer = await self._request(head.encode(), patience)
        status = answer[9:12]
        assert not status or status < b"500", f"{path}: {answer[:300]}"
        assert form != FORM or status in (b"200", b"302"), f"{path}: {answer[:300]}"

    async def _request(self, head, patience):
        self.connections += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(head)
            async with asyncio.timeout(patience):
                return await reader.read()
        except TimeoutError:
            return b""
        finally:
            writer.transport.abort()


def furnish(users, owner, count):
    """So many rooms, with all of them in each; their slugs (sync)."""
    slugs = []
    for nth in range(count):
        room = Room.objects.create_with_owner(f"room{nth}", owner)
        for user in users:
            room.admit(user)
        slugs.append(room.slug)
    return slugs

"""Sockets: they translate. The writer numbers, the hub delivers."""

import asyncio
import logging
import time
from types import SimpleNamespace
from urllib.parse import parse_qsl

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from accounts.models import Session
from accounts.sessions import person_of
from messaging import commands, metrics, protocol
from messaging.database import LOST, run_in_database
from messaging.live import background, runtime
from messaging.live.limits import MAX_UNANSWERED
from messaging.protocol import BadFrame, Close
from messaging.writing.requests import EnterRoom, ExitRoom, PostMessage, Unknown
from messaging.writing.turns import Turn
from rooms.models import Room
from rooms.models.attendance import Cause
from rooms.rights import Refused

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 2.5  # seconds; three are promised
MAX_WAITING = 1024 * 1024  # bytes that a slow reader may keep us holding
PACE = MAX_WAITING // 4  # a page that catches up is not sent more than that ahead
REPLAY_WITHIN = 30  # seconds
NORMAL_CLOSURES = {1000, 1001}
TOO_SLOW = _("Your connection is too slow for this room.")
TOO_MANY = ngettext_lazy(
    "You have %(count)s connection open, which is the limit. Close some tabs "
    "and this page will reconnect.",
    "You have %(count)s connections open, which is the limit. Close some tabs "
    "and this page will reconnect.",
    "count",
)


class CloseSocket(Exception):
    """The socket must close, with this code, for this reason."""

    def __init__(self, code, detail) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class PersonConsumer(AsyncWebsocketConsumer):
    """A socket of somebody who is signed in; what the hub knows of it."""

    channel_layer = None  # the relay has the process's only channel

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.user = None
        self.language = None
        self.session_hash = ""
        self.feed = None
        self.frames = None  # the server's frame writer, if it has one
        self._bucket = None
        self._is_closed = False

    async def __call__(self, scope, receive, send):
        """Handle what comes, one by one. Channels' own loop makes a task for each frame
        and hops through the one shared thread, for a layer and a database that sockets
        here do not have."""
        self.scope, self.base_send = scope, send
        self.frames = scope.get("extensions", {}).get("rollcall.frames")
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        except asyncio.CancelledError:
            # Daphne overlooks a cancelled application, and would keep its socket open.
            await self.close_with(Close.RESTART, _("Try again in a moment."))
            raise
        finally:  # `disconnect` is not called on a fault or when the server stops
            self.gone()
            if self._bucket:
                runtime.current().keep_until_full(self._bucket)

    async def dispatch(self, message) -> None:
        handler = message["type"].replace(".", "_")
        await getattr(self, handler)(message)

    async def connect(self) -> None:
        # Accepted first: the code of a refused handshake never reaches the browser.
        await self.accept()
        self.language = _language(self.scope)
        translation.activate(self.language)
        try:
            async with runtime.current().admission():
                await self._sign_in()
                await self.enter()
            await self.catch_up()
        except CloseSocket as closing:
            await self.close_with(closing.code, closing.detail)
        except Refused as refused:
            for_now = refused.code in ("busy", "try_later")
            code = Close.RESTART if for_now else Close.NOT_ALLOWED
            await self.close_with(code, refused.detail)
        except BadFrame as bad:
            await self.close_with(Close.NOT_ALLOWED, bad.detail)
        except Exception as error:
            logger.warning("a socket could not be opened: %r", error)
            await self.close_with(Close.RESTART, _("Try again in a moment."))

    async def _sign_in(self):
        cookies = self.scope.get("cookies", {})
        if session_key := cookies.get(settings.SESSION_COOKIE_NAME):
            self.session_hash = Session.hash_of(session_key)
            self.user = await run_in_database(person_of, session_key)
        if self.user is None:
            raise CloseSocket(Close.SIGNED_OUT, _("You’re signed out."))
        live = runtime.current()
        if live.hub.sockets_of(self.user) >= settings.SOCKETS_PER_PERSON:
            raise CloseSocket(
                Close.TOO_MANY, TOO_MANY % {"count": settings.SOCKETS_PER_PERSON}
            )
        live.hub.enroll(self)
        self._bucket = live.bucket(self.user.pk)

    async def enter(self):
        """What is particular to this kind of socket, once somebody is signed in."""
        raise NotImplementedError

    async def catch_up(self) -> None:
        """Send what was missed. It takes as long as the browser reads, so the place in
        the entry limiter has been given back before."""

    def gone(self) -> None:
        """The socket is no more, for whatever reason."""
        runtime.current().hub.leave(self)

    async def disconnect(self, code) -> None:
        if not self._is_closed:
            metrics.lost(code)

    async def receive(self, text_data=None, bytes_data=None) -> None:
        """Never waits for the database: frames would pile up behind it."""
        if self._is_closed:
            return
        within_limit = self._bucket.take()
        if self._bucket.flooded:
            await self.close_with(Close.FLOODING, _("Too many requests."))
            return
        try:
            request = protocol.read(text_data)
        except BadFrame as bad:
            await self.deliver(protocol.error(bad.code, bad.detail, bad.key))
            return
        if not within_limit:
            await self.slow_down(request.key)
        elif isinstance(request, protocol.Show):
            await runtime.current().hub.present_counts.show(self, request.rooms)
        else:
            await self.take(request)

    async def take(self, post):
        """Answer a Post, now or later."""
        raise NotImplementedError

    async def slow_down(self, key) -> None:
        detail = _("You’re sending too fast. This wasn’t sent.")
        await self.deliver(protocol.error("slow_down", detail, key))

    def write(self, wire) -> None:
        """Send a frame that is ready for the wire; who reads too slowly is closed."""
        if self.frames.write(wire) > MAX_WAITING and not self._is_closed:
            background.start(self.close_with(Close.TOO_SLOW, TOO_SLOW))

    async def deliver(self, frame) -> None:
        """Send a frame (bytes of JSON). One socket's fault never stops a fan-out."""
        if self.frames is not None:
            self.write(self.frames.encode(frame))
            return
        try:
            await self.send(text_data=frame.decode())
        except Exception as error:
            logger.info("a frame could not be sent: %r", error)

    async def ready(self) -> bool:
        """Wait until most of what was sent is on its way; False once it has closed."""
        # Nothing tells when the kernel takes more.
        while not self._is_closed and self.frames and self.frames.waiting > PACE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(0)
        return not self._is_closed

    async def close_with(self, code, detail):
        """Close for a reason, which is told first: Daphne's close carries none."""
        if self._is_closed:
            return
        self._is_closed = True
        metrics.closed(code)
        runtime.current().hub.leave(self)
        with translation.override(self.language):  # the hub's own may be another
            farewell = protocol.farewell(code, detail)
        try:
            await self.deliver(farewell)
        except Exception as error:
            logger.info("a reason could not be told: %r", error)
        for one in (int(code), 1000):  # plain Daphne takes no 1012
            try:
                return await self.close(code=one)
            except Exception as error:
                logger.info("a socket could not be closed: %r", error)

    async def drain(self) -> None:
        """The process stops: another will have this page."""
        await self.close_with(Close.RESTART, _("The server is restarting."))


class RoomsConsumer(PersonConsumer):
    """The list of rooms: how many people are in those that its page shows."""

    async def enter(self) -> None:
        await self.deliver(protocol.present_counts({}))  # the page sees that it is in

    async def take(self, request) -> None:
        detail = _("This connection has no room to write to.")
        await self.deliver(protocol.error("not_allowed", detail, request.key))


class NowhereConsumer(PersonConsumer):
    """Any other address. (Channels would answer it with an error of its own.)"""

    async def enter(self):
        raise CloseSocket(Close.NO_SUCH_ROOM, _("Nothing is here."))


class RoomConsumer(PersonConsumer):
    """One person's live view of one room."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.entry = None
        self.room_id = None
        self._seen = None  # the number from which it has to be sent the log
        self._cause = Cause.TIMED_OUT
        self._answering = set()
        self._last_turn = None

    async def enter(self):
        live = runtime.current()
        query = dict(
            parse_qsl(
                self.scope["query_string"].decode("latin1"), keep_blank_values=True
            )
        )
        cursor = protocol.read_cursor(query)
        slug = self.scope["url_route"]["kwargs"]["slug"]
        self.room_id = await run_in_database(_room_id, slug)
        if self.room_id is None:
            raise CloseSocket(Close.NO_SUCH_ROOM, _("There’s no such room."))
        async with asyncio.timeout(2 * ANSWER_WITHIN):
            node_id = await live.heartbeat.node_id()
            self.entry = await self._store_entry(
                EnterRoom(self.room_id, self.user, node_id)
            )
            self._seen = await live.hub.join(self, self.room_id, cursor)

    async def catch_up(self):
        if self._seen is None:
            return
        try:
            async with asyncio.timeout(REPLAY_WITHIN):
                await self.feed.replay(self, self._seen)
        except TimeoutError:
            raise CloseSocket(Close.TOO_SLOW, TOO_SLOW) from None

    async def _store_entry(self, request):
        """Enter. A socket cut off meanwhile must not leave an open visit behind."""
        entering = asyncio.ensure_future(runtime.current().writer.write(request))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(self._exit_late)
            raise

    def _exit_late(self, entering) -> None:
        if not entering.cancelled() and not entering.exception():
            self.entry = entering.result()
            self.gone()

    def gone(self) -> None:
        super().gone()
        entry, self.entry = self.entry, None
        if entry:
            leaving_room = ExitRoom(self.room_id, entry.visit_id, self._cause)
            background.start(runtime.current().writer.write(leaving_room))

    async def disconnect(self, code) -> None:
        await super().disconnect(code)
        if code in NORMAL_CLOSURES:
            self._cause = Cause.CLOSED

    async def close_with(self, code, detail) -> None:
        if code == Close.SIGNED_OUT:
            self._cause = Cause.SIGNED_OUT
        await super().close_with(code, detail)

    async def drain(self) -> None:
        if self._answering:  # what was posted is answered first
            await asyncio.wait(self._answering, timeout=ANSWER_WITHIN)
        self._cause = Cause.SHUTDOWN
        await super().drain()

    # Frames ---------------------------------------------------------------------------

    async def take(self, post):
        if len(self._answering) >= MAX_UNANSWERED:
            return await self.slow_down(post.key)
        self._last_turn = turn = Turn(self._last_turn)
        answering = asyncio.create_task(self._answer(post, turn))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, post, turn) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                frame = await self._do(post, turn)
            metrics.ACK.observe(time.monotonic() - began)
        except Refused as refused:
            frame = protocol.error(refused.code, refused.detail, post.key)
        except (Unknown, TimeoutError, *LOST):
            metrics.UNKNOWN.inc()
            detail = _("The server isn’t responding. It will be sent again.")
            frame = protocol.error("try_later", detail, post.key)
        except Exception:
            logger.exception("a post could not be answered")
            metrics.UNKNOWN.inc()
            detail = _("Something went wrong. It will be sent again.")
            frame = protocol.error("try_later", detail, post.key)
        finally:
            turn.end()
        await self.deliver(frame)

    async def _do(self, post, turn):
        parsed = commands.parse(post.body)
        if isinstance(parsed, commands.Speech):
            seq = await self._say(post.key, parsed, self.feed.epoch, turn)
            return protocol.ack(post.key, seq)
        await turn.after_answer()
        done = await runtime.current().act(parsed, self.user, self.room_id)
        if isinstance(done, str):
            return protocol.notice(done, post.key)
        return protocol.ack(post.key, done.seq)

    async def _say(self, key, speech, epoch, turn):
        """Have it rendered, then written when it is its turn; its number."""
        live = runtime.current()
        html = await live.rendering.to_html(self.user.pk, speech.body)
        say = PostMessage(
            self.room_id, self.user, key, speech.body, speech.me, epoch=epoch, html=html
        )
        await turn.come()
        outcome = live.writer.take(say)
        turn.pass_on()
        return await outcome


def _room_id(slug):
    return Room.objects.named(slug).values_list("pk", flat=True).first()


def _language(scope):
    headers = dict(scope["headers"])
    request = SimpleNamespace(
        COOKIES=scope.get("cookies", {}),
        META={
            "HTTP_ACCEPT_LANGUAGE": headers.get(b"accept-language", b"").decode(
                "latin1"
            )
        },
    )
    return translation.get_language_from_request(request)

"""Rendering that cannot stop the house: in worker processes, each with a deadline.

Whatever people type costs their own message its formatting at worst. Plain text is made
here; everything else goes to a worker, one for a person at a time, people in turn. A
text without its HTML at the deadline is stored as plain text. Where the worker has
computed for all that time, it ends, and what that person posts in the next minute is
plain text, too. Where the machine was busy with other things, the worker goes on.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress

from django.conf import settings

from messaging import metrics
from messaging.rendering import DEADLINE, SIZE, STUCK_AFTER
from messaging.rendering.plain import to_html_if_plain, to_plain_html

logger = logging.getLogger(__name__)

WORKERS = 3
AT_WORK = 2  # of them; the others are warm spares
WAIT_WITHIN = 0.5  # seconds that a text waits for a worker
START_WITHIN = 2.0  # the same, until the first worker is there
FORK_WITHIN = 10.0  # that a worker takes to be ready
MAX_WAITING = 1_000  # texts
LAST_MOMENT = 0.05  # of the deadline
PLAIN_FOR = 60.0  # seconds after a missed deadline
MAX_ANSWER = 1024 * 1024  # bytes
COMMAND = (sys.executable, "-m", "messaging.rendering.worker")
# Of the environment, whatever begins so: workers are handed no secrets.
NEEDED = ("PATH", "LANG", "LC_", "LD_", "DYLD_", "PYTHON")


class Text:
    """A message's text that waits for its HTML."""

    __slots__ = ("author_id", "body", "html", "timer")

    def __init__(self, author_id, body, html, timer) -> None:
        self.author_id = author_id
        self.body = body
        self.html = html  # a future
        self.timer = timer

    def settle(self, html) -> None:
        self.timer.cancel()
        if not self.html.done():  # its socket may have gone
            self.html.set_result(html)

    def settle_plain(self, why) -> None:
        """Give up formatting, for one of metrics.PLAIN_BECAUSE."""
        if not self.html.done():
            metrics.STORED_PLAIN.labels(why).inc()
        self.settle(to_plain_html(self.body))


class Pool:
    """The workers of one process, and the texts that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fork_server = None
        self._control = None  # a socket; what it is handed becomes a worker's own
        self._workers = set()
        self._idle = deque()
        self._busy = {}  # {the author's id: the worker that has a text of theirs}
        self._waiting = {}  # {an author's id: their texts}; the next one's come first
        self._late = {}  # {an author's id: until when theirs are plain}, in that order
        self._is_wanted = asyncio.Event()
        self._patience = START_WITHIN

    async def to_html(self, author_id, body):
        """`body` as clean HTML; without formatting where that would take too long."""
        return to_html_if_plain(body) or await self._formatted(author_id, body)

    @property
    def waiting(self):
        """The number of texts that wait for a worker."""
        return sum(map(len, self._waiting.values()))

    @property
    def workers(self):
        return len(self._workers)

    # Texts ----------------------------------------------------------------------------

    def _formatted(self, author_id, body):
        """A future of its HTML."""
        text = Text(author_id, body, self._loop.create_future(), timer=None)
        text.timer = self._loop.call_later(self._patience, self._give_up, text)
        if self._late.get(author_id, 0) > time.monotonic():
            text.settle_plain("minute")
        elif self.waiting >= MAX_WAITING or not self._patience:
            text.settle_plain("busy")
        else:
            self._waiting.setdefault(author_id, deque()).append(text)
            self._hand_out()
        return text.html

    def _hand_out(self) -> None:
        while self._idle and len(self._busy) < AT_WORK and (text := self._next()):
            worker = self._idle.popleft()
            self._busy[text.author_id] = worker
            self._schedule(DEADLINE - LAST_MOMENT, self._is_nearly_late, text)
            worker.render(text)

    def _schedule(self, seconds, step, text) -> None:
        """What happens to a text next, if it is not settled before."""
        text.timer.cancel()
        text.timer = self._loop.call_later(seconds, step, text)

    def _is_nearly_late(self, text) -> None:
        """A step of its own: where the whole machine stood still, its worker gets a
        moment to answer."""
        self._schedule(LAST_MOMENT, self._is_late, text)

    def _is_late(self, text) -> None:
        """Its worker goes on: by its end we see who is to blame, text or machine."""
        text.settle_plain("late")
        self._schedule(STUCK_AFTER - DEADLINE, self._is_stuck, text)

    def _is_stuck(self, text) -> None:
        self._busy[text.author_id].close()

    def _next(self):
        """The text whose turn it is; its author goes to the end of the line."""
        for author_id in self._waiting:
            if author_id not in self._busy:
                texts = self._waiting.pop(author_id)
                text = texts.popleft()
                if texts:
                    self._waiting[author_id] = texts
                return text
        return None

    def _give_up(self, text) -> None:
        """It has waited for too long."""
        texts = self._waiting[text.author_id]
        texts.remove(text)
        if not texts:
            del self._waiting[text.author_id]
        text.settle_plain("busy")

    def _remember_late(self, author_id) -> None:
        now = time.monotonic()
        self._late.pop(author_id, None)
        self._late[author_id] = now + PLAIN_FOR
        while next(iter(self._late.values())) <= now:
            del self._late[next(iter(self._late))]
        for text in self._waiting.pop(author_id, ()):
            text.settle_plain("minute")

    # What workers tell ----------------------------------------------------------------

    def has_come(self, worker) -> None:
        self._workers.add(worker)
        self._patience = WAIT_WITHIN
        self._rest(worker)

    def has_answered(self, worker, text, html) -> None:
        """A worker has the HTML of a text; "" if rendering it raised."""
        del self._busy[text.author_id]
        if html:
            text.settle(html)
        else:
            text.settle_plain("fault")
        self._rest(worker)

    def has_gone(self, worker, text) -> None:
        """A worker is no more: its text (or None) took all of its time, or it was
        killed, or it was stuck and we closed it."""
        self._workers.discard(worker)
        with suppress(ValueError):
            self._idle.remove(worker)
        if text:
            metrics.RENDERERS_KILLED.inc()
            del self._busy[text.author_id]
            text.settle_plain("late")
            if not worker.is_closed:
                self._remember_late(text.author_id)
        self._is_wanted.set()
        self._hand_out()

    def _rest(self, worker) -> None:
        self._idle.append(worker)
        self._hand_out()

    # Having workers -------------------------------------------------------------------

    async def keep(self):
        """Run for ever: see to it that there are enough workers."""
        try:
            while True:
                self._is_wanted.clear()
                if len(self._workers) < WORKERS:
                    await self._add()
                else:
                    await self._is_wanted.wait()
        except Exception:
            self._stop_forking()
            self._expect_none()
            raise

    def close(self) -> None:
        """Have all processes end, as they do when this one ends, however it does."""
        self._stop_forking()
        for worker in list(self._workers):
            worker.close()

    def _stop_forking(self) -> None:
        if self._fork_server:
            self._control.close()
            with self._fork_server as ending:
                ending.kill()
            self._fork_server = None

    def _expect_none(self) -> None:
        """No worker can be had: what cannot be formatted now is stored as it is."""
        if not self._workers:
            self._patience = 0
            for texts in list(self._waiting.values()):
                for text in list(texts):
                    self._give_up(text)

    async def _add(self):
        if self._fork_server is None:
            await self._start()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _transport, worker = await self._loop.create_unix_connection(
            lambda: Worker(self), sock=ours
        )
        try:
            with theirs:
                socket.send_fds(self._control, [b"w"], [theirs.fileno()])
            await worker.is_ready()
        except BaseException:
            worker.close()
            raise

    async def _start(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self._fork_server = await asyncio.to_thread(start_fork_server, theirs)
        except BaseException:
            ours.close()
            raise
        self._control = ours


def start_fork_server(control):
    return subprocess.Popen(
        COMMAND,
        cwd=settings.BASE_DIR,
        env={k: v for k, v in os.environ.items() if k.startswith(NEEDED)},
        stdin=control,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C at the terminal is for the server
    )


class Worker(asyncio.Protocol):
    """The server's end of a worker's socket."""

    def __init__(self, pool) -> None:
        self._pool = pool
        self._ready = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._text = None
        self.is_closed = False  # by us

    def connection_made(self, transport) -> None:
        self._transport = transport

    async def is_ready(self):
        """Returns when it is; raises OSError where it will not be, or not in time."""
        async with asyncio.timeout(FORK_WITHIN):
            if not await asyncio.shield(self._ready):
                raise ConnectionError("no worker could be forked")

    def close(self) -> None:
        self.is_closed = True
        self._transport.abort()

    def render(self, text) -> None:
        self._text = text
        self._began = time.monotonic()
        body = text.body.encode()
        self._transport.write(SIZE.pack(len(body)) + body)

    def data_received(self, data) -> None:
        self._buffer += data
        if len(self._buffer) < SIZE.size:
            return
        (size,) = SIZE.unpack_from(self._buffer)
        if size > MAX_ANSWER:
            self.close()
        elif len(self._buffer) == SIZE.size + size:
            html = self._buffer[SIZE.size :].decode()
            self._buffer.clear()
            self._take(html)

    def _take(self, html) -> None:
        text, self._text = self._text, None
        if text is None:
            self._ready.set_result(True)
            self._pool.has_come(self)
        else:
            metrics.RENDERING.observe(time.monotonic() - self._began)
            self._pool.has_answered(self, text, html)

    def connection_lost(self, error) -> None:
        if not self._ready.done():
            self._ready.set_result(False)
        self._pool.has_gone(self, self._text)

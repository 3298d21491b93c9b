"""A room's page without its screen: what static/js does with its line, log and outbox.

It connects again with its cursor after a random wait, mends a hole by a new line and a
reset by a new page, says one thing at a time, and repeats with the same key what nobody
answered. Each thing it does or sees goes into the history.
"""

import asyncio
import hashlib
import re
import time
from collections import deque
from contextlib import suppress

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.lab.faults.provision import PASSWORD

# As in static/js/room/connection.js and outbox.js. But a line counts as steady after
# seconds: the bench puts into minutes the faults of a year.
FIRST_WAIT, LONGEST_WAIT, HANDSHAKE = 0.5, 30, 15
STEADY = 2
PATIENCE, FIRST_REST, LONGEST_REST = 10, 1, 15
HTTP_PATIENCE = 15

AFTER = {"lost": 0, "flood": 10, "too many": 60}  # seconds until it connects again
CLOSES = {
    **{"4401": "signed out", "4403": "refused", "4404": "refused"},
    **{"4409": "too many", "4429": "flood"},
}
FAREWELLS = {"1000", "1001", "1006", "1009", "1012", "4408", *CLOSES}
LATER = {"slow_down", "busy", "try_later"}
MARKER = re.compile(r"secret-[0-9a-z-]+")
PAGE_DATA = re.compile(r'<script id="page-data"[^>]*>(.*?)</script>')
KEPT = 200  # lines that a page keeps
TOKEN = "x" * 32  # against forged forms: cookie and header have to agree


def digest(thing):
    """A short name for a text, or for an event whatever the order of its fields."""
    data = orjson.dumps(thing, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=6).hexdigest()


def markers_in(text):
    return sorted(set(MARKER.findall(text)))


def is_farewell(frame):
    return frame["type"] == "error" and frame["code"] in FAREWELLS


class SimulatedPerson:
    """Somebody with a browser, who reaches the site by a line of their own choice."""

    def __init__(self, site, name, line):
        self.name = name
        self.id = site.people[name]["id"]
        self.site = site
        self.port = site.ports[line]
        self.lock = asyncio.Lock()  # one act at a time
        self.door = asyncio.Lock()
        self.http = httpx.AsyncClient(
            base_url=f"{site.scheme}://127.0.0.1:{self.port}",
            headers={
                "Host": site.host,
                "Origin": site.origin,
                "Referer": site.origin,
                "Accept": "application/json",
                "X-CSRFToken": TOKEN,
            },
            transport=site.transport,
            timeout=HTTP_PATIENCE,
        )
        self._take_session(site.people[name]["session"])

    def _take_session(self, key):
        self.session = key
        self._be_nobody()
        self.http.cookies.set(self.site.cookie, key)

    def _be_nobody(self):
        self.http.cookies.clear()
        self.http.cookies.set(self.site.csrf_cookie, TOKEN)

    async def log(self, slug, **query):
        """(status, page) of a room's log."""
        answer = await self.http.get(f"/rooms/{slug}/log/", params=query)
        return answer.status_code, answer.json() if answer.is_success else None

    async def page_data(self, slug):
        """What the server writes into the room's page."""
        page = await self.http.get(f"/rooms/{slug}/", headers={"Accept": "text/html"})
        page.raise_for_status()
        found = PAGE_DATA.search(page.text)
        if not found:
            raise ValueError("the page is no room's")
        return orjson.loads(found[1])

    async def act(self, slug, verb, **fields):
        """(status, answer) of a form of the room's page."""
        answer = await self.http.post(f"/rooms/{slug}/{verb}/", data=fields)
        return answer.status_code, orjson.loads(answer.content)

    async def is_signed_in(self):
        answer = await self.http.get("/accounts/session/")
        answer.raise_for_status()
        return answer.json()["name"] == self.name

    async def sign_out(self):
        answer = await self.http.post("/accounts/logout/")
        if not answer.is_success:
            raise httpx.HTTPError(f"signing out was answered {answer.status_code}")

    async def sign_in_again(self):
        """Sign in, unless another tab just did: a browser has one session."""
        async with self.door:
            if not await self.is_signed_in():
                await self._sign_in()

    async def _sign_in(self):
        # A sign-in that failed half-way may have left another token in a cookie, which
        # a browser would have in its form.
        self._be_nobody()
        form = {"login": self.name, "password": PASSWORD}
        answer = await self.http.post("/accounts/login/", data=form)
        if not answer.cookies.get(self.site.cookie):
            raise httpx.HTTPError(f"signing in was answered {answer.status_code}")
        self._take_session(answer.cookies[self.site.cookie])


class SimulatedPage:
    """A person's page of a room, from being opened to the end of the run."""

    def __init__(self, name, person, slug, history, rng):
        self.name = name
        self.person = person
        self.slug = slug
        # Nginx finds a Daphne for each way to write a name. So the sockets of a room
        # are spread over all of them, and depend on hints.
        self.address = "".join(rng.choice([one, one.upper()]) for one in slug)
        self.history = history
        self.rng = rng
        self.conn = 0
        self.is_live = False
        self.state = "opening"
        self.socket = None
        self.awake = asyncio.Event()  # a page that sleeps does not read
        self.awake.set()
        self.online = asyncio.Event()
        self.outbox = Outbox(self)
        self._failures = 0
        self._within = 0  # seconds: the window in which a server wants the page back
        self._hole_at = None
        self._held = None  # events that wait for a new page
        self._loading = None
        self.epoch, self.last = None, 0
        self.lines = deque(maxlen=KEPT)  # (seq, digest)
        self.floor = 1
        self.here, self._here_at = set(), 0

    def tell(self, kind, **fields):
        self.history.tell(
            kind, client=self.name, conn=self.conn, room=self.slug, **fields
        )

    # The line ---------------------------------------------------------------------

    async def run(self):
        try:
            while True:
                await self._open()
                while (fate := await self._line()) in AFTER:
                    await self._wait(AFTER[fate])
                self.state = fate
                await self._come_back(fate)
        finally:
            self.outbox.stop()

    async def _line(self):
        """One socket, from the handshake to its end; what the page makes of the end."""
        self.conn += 1
        began, loop = None, asyncio.get_running_loop()
        self.state = "connecting"
        user, session = self.person.name, digest(self.person.session)
        cursor = {"after": self.last, "epoch": self.epoch}
        self.tell("dial", user=user, session=session, **cursor)
        try:
            async with asyncio.timeout(HANDSHAKE) as handshake:
                async with await self._connect() as self.socket:
                    async for text in self.socket:
                        await self.awake.wait()
                        frame = orjson.loads(text)
                        if is_farewell(frame):
                            self._within = frame.get("within", 0)
                            continue
                        if handshake.when() is not None:
                            handshake.reschedule(None)
                            began = loop.time()
                            self._live()
                        self._take(frame, text)
        except (OSError, TimeoutError, WebSocketException) as error:
            self.reason = repr(error)
        finally:
            code = self.socket and self.socket.close_code or 1006
            self.is_live, self.state, self.socket = False, "waiting", None
            self.outbox.lost()
            self.tell("close", code=code)
        if began and loop.time() - began > STEADY:
            self._failures = 0
        return await self._meaning(code)

    async def _connect(self):
        site = self.person.site
        after = f"?after={self.last}&epoch={self.epoch}"
        return await connect(
            f"{site.ws_origin}/ws/rooms/{self.address}/{after}",
            host="127.0.0.1",
            port=self.person.port,
            origin=site.origin,
            additional_headers={"Cookie": f"{site.cookie}={self.person.session}"},
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=1,
            max_size=None,
            proxy=None,
        )

    def _live(self):
        self.is_live, self.state = True, "live"
        self.outbox.live()

    async def _meaning(self, code):
        meaning = CLOSES.get(str(code), "lost")
        if meaning == "signed out":
            with suppress(httpx.HTTPError, ValueError):
                if not await self.person.is_signed_in():
                    return meaning
            return "lost"
        return meaning

    async def _wait(self, least):
        width = min(FIRST_WAIT * 2**self._failures, LONGEST_WAIT)
        width, self._within = max(width, self._within), 0
        self._failures += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(least + self.rng.random() * width):
                await self.online.wait()

    @property
    def is_whole(self):
        """Nothing waits for a page to be loaded."""
        return self._held is None

    def stall(self):
        self.awake.clear()
        self.tell("stall")

    def wake(self):
        if not self.awake.is_set():
            self.awake.set()
            self.tell("unstall")

    def renew(self):
        """The network is back, and the browser says so: no waiting any more."""
        self.online.set()
        self.online.clear()

    def drop(self):
        """The line is lost without a word."""
        if self.socket:
            self.socket.transport.abort()

    # Frames -----------------------------------------------------------------------

    def _take(self, frame, text):
        if frame["type"] != "events" and (markers := markers_in(text)):
            self.tell("frame", type=frame["type"], markers=markers)
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "events":
                self._events(frame["events"], text)
            case "reset":
                self.tell("reset", reason=frame["reason"], head=frame["head"])
                self.reload()
            case "ack" | "error" | "notice" if frame.get("key"):
                self.outbox.answer(frame)

    def _welcome(self, frame):
        self.tell("welcome", epoch=frame["epoch"], head=frame["head"])
        self.line_epoch = frame["epoch"]
        self.here = {person["id"] for person in frame["here"]}
        self._here_at, self.floor = frame["head"], frame["floor"]

    def _events(self, events, text):
        hashed = [(event["seq"], digest(event)) for event in events]
        self.tell(
            "recv",
            epoch=self.line_epoch,
            events=hashed,
            markers=markers_in(text),
        )
        self._stream(events, hashed)

    # The stream -------------------------------------------------------------------

    def _stream(self, events, hashed):
        if self._held is not None:
            self._held.append((events, hashed))
            return
        for event, line in zip(events, hashed, strict=True):
            if event["seq"] <= self.last:
                continue
            if event["seq"] > self.last + 1:
                return self._mend()
            self.last = event["seq"]
            self._draw(event, line)
        return None

    def _draw(self, event, line):
        self.lines.append(line)
        self._fold_here(event)
        if event["kind"] == "clear":
            self.floor = event["seq"]
        if event.get("user", {}).get("id") == self.person.id and event.get("key"):
            self.outbox.settle(event["key"])

    def _fold_here(self, event):
        kind, seq = event["kind"], event["seq"]
        if kind in ("enter", "leave") and seq > self._here_at:
            change = self.here.add if kind == "enter" else self.here.discard
            change(event["user"]["id"])

    def _mend(self):
        """A new line brings what is missing; a hole that is still there, a new page."""
        if self._hole_at == self.last:
            return self.reload()
        self._hole_at = self.last
        self.tell("hole", last=self.last)
        self.drop()
        return None

    def reload(self):
        if self._held is None:
            self._held = []
        if self._loading:
            self._loading.cancel()
        self._loading = asyncio.create_task(self._reload())

    async def _reload(self):
        """Load the newest page in place; try until it is there."""
        wait = 1
        while True:
            with suppress(httpx.HTTPError, ValueError):
                began = time.monotonic_ns()
                status, page = await self.person.log(self.slug, limit=50)
                if status == 200:
                    return self._start(page, began)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 30)

    def _start(self, page, began):
        self.epoch, self.floor = page["epoch"], page["floor"]
        events = page["events"]
        self.last = events[-1]["seq"] if events else page["head"]
        self.lines.clear()
        held, self._held = self._held or [], None
        for event in (one for batch, _hashed in held for one in batch):
            if events and event["seq"] < events[0]["seq"]:
                self._fold_here(event)
        hashed = [(event["seq"], digest(event)) for event in events]
        self.tell(
            "page",
            began=began,
            user=self.person.name,
            epoch=self.epoch,
            last=self.last,
            events=hashed,
            markers=markers_in(orjson.dumps(page).decode()),
        )
        for event, line in zip(events, hashed, strict=True):
            self._draw(event, line)
        for more in held:
            self._stream(*more)

    # The person before it ---------------------------------------------------------

    async def _open(self):
        """Go to the room's address, until the page is there."""
        while True:
            with suppress(httpx.HTTPError, ValueError):
                began = time.monotonic_ns()
                status, page = await self.person.log(self.slug, limit=50)
                if status == 200:
                    return self._start(page, began)
                if status == 401:
                    await self.person.sign_in_again()
                    continue
                if status == 404:
                    await self.act("join")
            await asyncio.sleep(0.5 + self.rng.random())

    async def _come_back(self, fate):
        """Who was put out or has signed out comes again, after a while."""
        await asyncio.sleep(1 + 2 * self.rng.random())

    async def act(self, verb, user=None):
        """Do an act (to a user), and tell the history what came of it."""
        name = self.history.name_act()
        whom = {"user": user} if user else {}
        self.tell("invoke", op=verb, act=name, user=self.person.name, of=user)
        try:
            status, answer = await self.person.act(self.slug, verb, **whom)
        except (httpx.HTTPError, ValueError) as error:
            self.tell("info", op=verb, act=name, why=repr(error)[:100])
            return
        if status == 200:
            self.tell("ok", op=verb, act=name, seq=answer["seq"])
        elif status < 500:
            self.tell("fail", op=verb, act=name, code=answer["code"])
        else:
            self.tell("info", op=verb, act=name, why=str(status))

    async def sign_out(self):
        name = self.history.name_act()
        session = digest(self.person.session)
        user = self.person.name
        self.tell("invoke", op="logout", act=name, user=user, session=session)
        try:
            await self.person.sign_out()
        except httpx.HTTPError as error:
            self.tell("info", op="logout", act=name, why=repr(error)[:100])
        else:
            self.tell("ok", op="logout", act=name)


class PendingMessage:
    """Something said that has no number yet."""

    __slots__ = ("body", "doubt", "key", "state")

    def __init__(self, key, body):
        self.key, self.body = key, body
        self.state, self.doubt = "waiting", False


class Outbox:
    """What was said on a page, sent one at a time, and again until it is answered."""

    def __init__(self, page):
        self._page = page
        self._entries = []
        self._shouted = set()  # keys that are sent once, whatever becomes of them
        self._timer = None
        self._rest_time = FIRST_REST

    def __len__(self):
        return len(self._entries)

    def add(self, key, body):
        self._entries.append(PendingMessage(key, body))
        self._pump()

    async def shout(self, key, body):
        """Send it at once, and never again."""
        self._shouted.add(key)
        await self._send(key, body)

    def live(self):
        self._pump()

    def lost(self):
        self.stop()
        for key in self._shouted:
            self._page.tell("info", op="send", key=key, why="unanswered")
        self._shouted.clear()
        for entry in self._entries:
            if entry.state == "sent":
                self._doubt(entry)

    def answer(self, frame):
        key = frame["key"]
        if key in self._shouted:
            self._shouted.discard(key)
            return self._tell(key, frame, in_doubt=False)
        entry = self._find(key)
        if entry is None:
            return None
        if entry.state == "sent":
            self.stop()
        if frame.get("code") in LATER:
            return self._later(entry, frame["code"])
        self._tell(key, frame, entry.doubt)
        self._rest_time = FIRST_REST
        self._entries.remove(entry)
        return self._pump()

    def _tell(self, key, frame, in_doubt):
        """What the answer says of the message: a refusal says nothing of one that was
        in doubt before."""
        if frame["type"] == "ack":
            self._page.tell("ok", op="send", key=key, seq=frame["seq"])
        elif in_doubt or frame["code"] == "try_later":
            self._page.tell("info", op="send", key=key, why=frame["code"])
        else:
            self._page.tell("fail", op="send", key=key, code=frame["code"])

    def _later(self, entry, code):
        entry.state = "waiting"
        if code == "try_later":
            self._doubt(entry, code)
        self._rest(self._rest_time * (0.5 + self._page.rng.random() / 2))
        self._rest_time = min(2 * self._rest_time, LONGEST_REST)

    def _find(self, key):
        return next((one for one in self._entries if one.key == key), None)

    def settle(self, key):
        """The event is drawn: what it says is no longer pending, answered or not."""
        entry = self._find(key)
        if entry and entry.state != "sent":
            self._entries.remove(entry)

    def stop(self):
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _pump(self):
        if self._timer or not self._page.is_live:
            return
        entry = next((one for one in self._entries if one.state == "waiting"), None)
        if entry is None:
            return
        entry.state = "sent"
        asyncio.ensure_future(self._send(entry.key, entry.body))
        self._rest(PATIENCE, entry)

    async def _send(self, key, body):
        self._page.tell("send", key=key)
        frame = orjson.dumps({"type": "post", "key": key, "body": body})
        with suppress(WebSocketException, OSError, AttributeError):
            await self._page.socket.send(frame.decode())

    def _rest(self, seconds, entry=None):
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._rested, entry)

    def _rested(self, entry):
        self._timer = None
        if entry and entry.state == "sent":
            self._doubt(entry)
        self._pump()

    def _doubt(self, entry, why="unanswered"):
        entry.state, entry.doubt = "waiting", True
        self._page.tell("info", op="send", key=entry.key, why=why)

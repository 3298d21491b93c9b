"""A restore under two servers and their sockets: all begin anew in the restored log."""

import asyncio
import sys
from functools import partial

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from websockets.exceptions import ConnectionClosed

from config.backup.archive import Archive
from messaging import history
from messaging.models import Message
from rooms.models import Installation, Room
from tests.conftest import database_url
from tests.support.room_client import RoomClient, faults, sign_in
from tests.support.servers import ROOT, own_environment

pytestmark = pytest.mark.django_db(transaction=True)


async def manage(*words):
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "manage.py",
        *map(str, words),
        cwd=ROOT,
        env=own_environment(**own),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _none = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


class Talker:
    """Says one thing after the other, each until it has an answer, over any number of
    lines: as the page's outbox does."""

    def __init__(self, server, room, session, name):
        self.server, self.room, self.session, self.name = server, room, session, name
        self.acks = []  # (the line's epoch, key, seq)
        self.resets = []
        self.cursor = None
        self.is_done = False

    async def talk(self):
        while not self.is_done:
            page = RoomClient(self.server, self.room, self.session, self.cursor)
            try:
                async with page:
                    await self.talk_over(page)
            except (ConnectionClosed, AssertionError):
                await asyncio.sleep(0.1)
            self.resets += [frame["reason"] for frame in page.of_type("reset")]

    async def talk_over(self, page):
        self.cursor = (page.welcome["epoch"], page.welcome["head"])
        while not (self.is_done or page.close_code or page.of_type("reset")):
            await self.say(page, f"{self.name}-{len(self.acks)}")
            await asyncio.sleep(0.02)

    async def say(self, page, key):
        old = len(of_key(page, key))
        await page.send(f'{{"type":"post","key":"{key}","body":"{key}"}}')
        await page.until(lambda: len(of_key(page, key)) > old or page.close_code)
        if page.of_type("reset"):
            return  # of which log an answer tells, is not known: it is said again
        for answer in of_key(page, key)[old:]:
            if answer["type"] == "ack":
                self.acks.append((page.welcome["epoch"], key, answer["seq"]))
            else:
                await asyncio.sleep(0.5)


def of_key(page, key):
    return [frame for frame in page.frames if frame.get("key") == key]


def has_left(page, person):
    """A page that is opened now shows that they are not here, or that they leave."""
    here = {one["id"] for one in page.welcome["here"]}
    leaves = (event for event in page.events if event["kind"] == "leave")
    return person.pk not in here or person.pk in {one["user"]["id"] for one in leaves}


@sync_to_async
def stored():
    """{key: its number} of all that was said."""
    return dict(Message.objects.values_list("key", "event__seq"))


@sync_to_async
def state(room):
    """What the log says, in the words of the protocol."""
    room = Room.objects.with_heads().get(pk=room.pk)
    start = history.snapshot(room)
    events = history.page(room, start.head, limit=200).events
    return start, events


def head_in(file, room):
    """The room's highest number in the backup."""
    with file.open("rb") as opened:
        backup = Archive(opened)
        heads = next(one for one in backup.manifest.tables if one.name == "rooms_head")
        rows = b"".join(backup.blocks(heads)).decode().splitlines()
    assert heads.columns[:2] == ["room_id", "seq"]
    return next(int(row.split()[1]) for row in rows if row.split()[0] == str(room.pk))


async def everybody_acked(talkers, more, epoch=None):
    """Wait until each has `more` further answers, in another epoch than `epoch`."""
    goals = [len(talker.acks) + more for talker in talkers]
    async with asyncio.timeout(20):
        while not all(
            len(talker.acks) >= goal and talker.acks[-more][0] != epoch
            for talker, goal in zip(talkers, goals, strict=True)
        ):
            await asyncio.sleep(0.05)


async def test_everybody_goes_on_in_the_restored_log(
    pair, room, alice, bob, carol, tmp_path
):
    file = tmp_path / "chat.backup"
    sessions = [await sign_in(person) for person in (alice, bob)]
    talkers = [
        Talker(server, room, session, name)
        for server, session, name in zip(pair, sessions, ("alice", "bob"), strict=True)
    ]
    talking = [asyncio.create_task(talker.talk()) for talker in talkers]
    await everybody_acked(talkers, 5)
    async with RoomClient(pair[0], room, await sign_in(carol)):  # here, in the backup
        await manage("backup", file)
    head = head_in(file, room)
    before = (await sync_to_async(Installation.current)()).epoch
    attic = await sync_to_async(Room.objects.create_with_owner)("attic", alice)
    async with RoomClient(pair[1], attic, sessions[0]) as lost:
        await everybody_acked(talkers, 5)
        assert "Restored" in await manage("restore", file, "--yes")
        assert await lost.closed() in (1012, 4404)
    await everybody_acked(talkers, 5, epoch=before)
    with pytest.raises(AssertionError, match="closed 4404"):
        async with RoomClient(pair[1], attic, sessions[0]):
            pass
    for talker in talkers:
        talker.is_done = True
    await asyncio.gather(*talking)

    # Whoever was there began anew, and was told so.
    now = (await sync_to_async(Installation.current)()).epoch
    assert now != before
    assert all("epoch" in talker.resets for talker in talkers)

    # What was acked in the new log is in it; what was acked in the old one is not,
    # unless the backup has it.
    found = await stored()
    for talker in talkers:
        for epoch, key, seq in talker.acks:
            if epoch == now:
                assert found[key] == seq
            elif key in found:
                assert found[key] == seq <= head
    lost_keys = {
        key
        for talker in talkers
        for epoch, key, _seq in talker.acks
        if epoch == before and key not in found
    }
    assert lost_keys  # there was something to lose

    # A page that is opened now, by either server, is the log as it is stored.
    start, events = await state(room)
    for server, session in zip(pair, sessions, strict=True):
        async with RoomClient(server, room, session) as page:
            assert page.welcome["epoch"] == now
            await page.until(partial(has_left, page, carol), seconds=15)
        async with httpx.AsyncClient(
            cookies={settings.SESSION_COOKIE_NAME: session}
        ) as browser:
            url = f"{server.url}/rooms/lobby/log/?limit=200"
            fresh = (await browser.get(url)).json()
        assert fresh["epoch"] == now
        by_seq = {event["seq"]: event for event in fresh["events"]}
        for event in events:
            assert by_seq.get(event["seq"], event) == event
    assert start.head == events[-1]["seq"]
    assert await faults() == []
    for server in pair:
        assert "Traceback" not in server.log
        assert "has a hole" not in server.log


async def test_a_room_that_the_backup_does_not_know_says_so(
    pair, room, alice, tmp_path
):
    file = tmp_path / "chat.backup"
    await manage("backup", file)
    attic = await sync_to_async(Room.objects.create_with_owner)("attic", alice)
    session = await sign_in(alice)
    async with RoomClient(pair[0], attic, session) as page:
        await page.say("up here")
        await manage("restore", file, "--yes")
        await page.closed()
    talker = Talker(pair[0], room, session, "alice")  # the server is well
    talking = asyncio.create_task(talker.talk())
    await everybody_acked([talker], 5)
    talker.is_done = True
    await talking
    with pytest.raises(AssertionError, match="closed 4404"):
        async with RoomClient(pair[0], attic, session):
            pass
    assert "Traceback" not in pair[0].log
    assert await faults() == []

"""Bugs on purpose: `python -m tests.lab.faults.seeded_bugs BUG serve …` is `manage.py
serve …` with one bug in it, "none" without. What the fault bench cannot see in these
servers, it would not see in ours.

A bug replaces a few functions of the application in the server's process; the
application knows nothing of it. Where a bug shows only in a short moment, it makes the
moment longer, so that no luck is needed to hit it.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta

MOMENT = 0.4  # seconds
BUGS = {}  # {name: (the invariant that it breaks, the function that plants it)}


def bug(name, breaks):
    def register(plant):
        BUGS[name] = (breaks, plant)
        return plant

    return register


# Writing ----------------------------------------------------------------------------


@bug("ack before commit", "I1")
def acknowledge_early():
    from messaging.writing.queue import Writer
    from messaging.writing.requests import PostMessage

    store, take = PostMessage.store, Writer.take
    early = {}  # {request: (loop, future)}

    def store_and_tell(cls, log, requests, standings):
        outcomes = store(log, requests, standings)
        for request, outcome in outcomes.items():
            if request in early:
                loop, future = early.pop(request)
                loop.call_soon_threadsafe(_resolve, future, outcome)
        time.sleep(MOMENT if requests else 0)
        return outcomes

    def take_early(self, request):
        if not isinstance(request, PostMessage):
            return take(self, request)
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        early[request] = loop, future
        done = take(self, request)
        done.add_done_callback(lambda done: done.exception())
        return asyncio.ensure_future(_first(done, future))

    PostMessage.store, Writer.take = classmethod(store_and_tell), take_early


async def _first(done, future):
    await asyncio.wait([done, future], return_when=asyncio.FIRST_COMPLETED)
    return future.result() if future.done() else done.result()


def _resolve(future, outcome):
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@bug("number from a sequence", "I4")
def number_from_sequence():
    from django.db import connection

    from rooms.models.log import Log

    append = Log.append

    def append_by_sequence(self, room_id, kind, actor, **fields):
        head = self._heads[room_id]
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE SEQUENCE IF NOT EXISTS seeded_{room_id} START {head.seq + 1}"
            )
            cursor.execute(f"SELECT nextval('seeded_{room_id}')")
            head.seq = cursor.fetchone()[0] - 1
        event = append(self, room_id, kind, actor, **fields)
        time.sleep(MOMENT if kind == "message" else 0)
        return event

    Log.append = append_by_sequence


@bug("numbers reserved in blocks", "I8")
def reserve_numbers():
    """A process that is ahead of another is overtaken by what comes later."""
    from django.db import connection

    from rooms.models.log import Log

    append, reserved = Log.append, {}  # {room: the number before the next}

    def append_from_block(self, room_id, kind, actor, **fields):
        if kind == "message":
            reserved.setdefault(room_id, block_after(self._heads[room_id].seq, room_id))
            self._heads[room_id].seq = reserved[room_id]
            reserved[room_id] += 1
        return append(self, room_id, kind, actor, **fields)

    def block_after(seq, room_id):
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE SEQUENCE IF NOT EXISTS seeded_{room_id}"
                f" INCREMENT 100 START {seq + 1}"
            )
            cursor.execute(f"SELECT nextval('seeded_{room_id}')")
            return cursor.fetchone()[0] - 1

    Log.append = append_from_block


@bug("an echo of each message", "I2")
def echo():
    from messaging.writing.requests import PostMessage

    store = PostMessage.store

    def store_and_echo(cls, log, requests, standings):
        echoes = [replace(one, key=f"{one.key}-echo") for one in requests]
        outcomes = store(log, [*requests, *echoes], standings)
        return {one: outcomes[one] for one in requests}

    PostMessage.store = classmethod(store_and_echo)


@bug("no look at keys", "I3")
def forget_keys():
    from django.db import connection

    from messaging.models import MessageQuerySet

    MessageQuerySet.stored = lambda self, names: {}
    drop = "ALTER TABLE messaging_message DROP CONSTRAINT IF EXISTS one_message_a_key"
    connection.cursor().execute(drop)


@bug("membership before the lock", "I9")
def read_rights_early():
    from messaging.writing import queue
    from messaging.writing import requests as batch

    standings, write_batch = batch._standings, queue.write_batch
    read = threading.local()

    def write_late(requests):
        read.standings = standings(requests)
        time.sleep(MOMENT)
        return write_batch(requests)

    batch._standings = lambda requests: read.standings
    queue.write_batch = write_late


@bug("no epoch", "I6")
def keep_the_epoch():
    """The installation's one never changes: as if cursors had none."""
    from django.db import connection

    connection.cursor().execute(
        "CREATE OR REPLACE RULE seeded AS ON UPDATE TO rooms_installation"
        " DO INSTEAD NOTHING"
    )


def uproot(cursor):
    """Take out of a database what bugs have put into it."""
    cursor.execute("DROP RULE IF EXISTS seeded ON rooms_installation")
    cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'seeded\\_%'")
    for (name,) in cursor.fetchall():
        cursor.execute(f"DROP SEQUENCE {name}")
    cursor.execute(
        "DELETE FROM messaging_message AS one USING messaging_message AS other"
        " WHERE (one.author_id, one.key) = (other.author_id, other.key)"
        " AND one.event_id > other.event_id"
    )
    cursor.execute(
        "ALTER TABLE messaging_message"
        " DROP CONSTRAINT IF EXISTS one_message_a_key,"
        " ADD CONSTRAINT one_message_a_key UNIQUE (author_id, key)"
    )


# Delivering -------------------------------------------------------------------------


@bug("trust in hints", "I7")
def trust_hints():
    from messaging.live.feed import Feed
    from messaging.live.hub import Hub

    async def nothing(self):
        pass

    Hub._compare_heads = nothing
    Feed.catch_up = lambda self: asyncio.ensure_future(nothing(self))


@bug("replay off by one", "I5")
def replay_one_more():
    from messaging.live.feed import Feed

    missed = Feed._missed

    async def missed_and_one(self, seen, upto):
        return await missed(self, max(0, seen - 1), upto)

    Feed._missed = missed_and_one


@bug("frames for all rooms", "I10")
def write_to_all_rooms():
    from messaging.live import runtime
    from messaging.live.fanout import write_to_all
    from messaging.live.feed import Feed

    async def write(self, frame):
        for feed in runtime.current().hub.feeds.values():
            await write_to_all(feed._live, frame)

    Feed._write = write


@bug("an exception that nobody catches", "I14")
def let_one_escape():
    from messaging.live.feed import Feed

    send = Feed._send_batch

    async def send_and_raise(self):
        await send(self)
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    Feed._send_batch = send_and_raise


@bug("a database session for each socket", "I15")
def connect_for_each():
    import psycopg

    from messaging.live.hub import Hub

    join, held = Hub.join, []

    async def connect_and_join(self, *args):
        url = os.environ["DATABASE_URL"]
        held.append(await asyncio.to_thread(psycopg.connect, url))
        return await join(self, *args)

    Hub.join = connect_and_join


@bug("stale members", "I9")
def forget_to_close_removed():
    from messaging.live.feed import Feed

    async def nothing(self, user_id):
        pass

    Feed._close_removed = nothing


@bug("unbounded buffer", "I12")
def keep_everything():
    from messaging import consumers
    from messaging.live import feed

    async def write_to_each(sockets, frame):
        for socket in list(sockets):
            await socket.deliver(frame)

    consumers.MAX_WAITING = float("inf")
    feed.write_to_all = write_to_each


@bug("blocking publish", "I13")
def publish_and_wait():
    import redis
    from django.conf import settings

    from messaging.live.relay import Relay

    publish = Relay.publish
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=3)

    def publish_now(self, room_id, epoch, records):
        with contextlib.suppress(redis.RedisError):
            client.publish("seeded", room_id)
        publish(self, room_id, epoch, records)

    Relay.publish = publish_now


# Who is here ------------------------------------------------------------------------


@bug("presence by the local clock", "I11")
def beat_by_local_clock():
    """Of a machine that is an hour ahead."""
    from django.utils import timezone

    from rooms.models import Node

    def renew(self):
        ahead = timezone.now() + timedelta(hours=1)
        mine = Node.objects.running().filter(pk=self.pk)
        return bool(mine.update(heartbeat=ahead))

    Node.renew = renew


@bug("no fencing", "I11")
def never_notice():
    from django.db.models.functions import Now

    from rooms.models import Node

    def renew(self):
        Node.objects.filter(pk=self.pk).update(heartbeat=Now())
        return True

    Node.renew = renew


# The server -------------------------------------------------------------------------


def hurry():
    """Shorter times to live, so that who is here is settled in seconds."""
    from messaging.live import heartbeat
    from rooms.models import attendance

    attendance.DEAD_AFTER = heartbeat.DEAD_AFTER = timedelta(seconds=3)
    attendance.GRACE, heartbeat.HEARTBEAT_EVERY = timedelta(seconds=1), 0.8


def main():
    name, *words = sys.argv[1:]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django
    from django.core.management import execute_from_command_line

    django.setup()
    hurry()
    if name != "none":
        BUGS[name][1]()
    execute_from_command_line(["manage.py", *words])


if __name__ == "__main__":
    main()

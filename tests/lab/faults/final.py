"""What is at the end, or just before a restore: all that the database holds, and what
each page shows beside what it would show if it were loaded anew.

The log is read by a process with the deployed system's settings (`python -m
tests.lab.faults.final`), which writes each event as the server writes it.
"""

import asyncio
import time
from contextlib import suppress

import httpx
import orjson

from tests.lab.faults import database_job
from tests.lab.faults.page import KEPT, digest

TRIES = 5


async def tell(site, crowd, history):
    """Tell the history of the end."""
    rooms = (await asyncio.to_thread(tell_dump, site, crowd, history, "end"))["rooms"]
    states = [
        tell_state(page, page.person.name in rooms[page.slug]["members"])
        for page in crowd.pages
    ]
    await asyncio.gather(*states)


def tell_dump(site, crowd, history, why):
    """Tell what the database holds, and who is there in truth; returns the former."""
    present, began = crowd.present(), time.monotonic_ns()
    found = dump(site.environment)
    # What is acknowledged while it is made need not be in it.
    history.tell("dump", why=why, **found, t=began)
    history.tell("present", rooms=present)
    return found


def dump(environment):
    """The database as `history` describes a dump, read by a process with that
    environment."""
    return database_job.ask(__name__, environment)


def _dump():
    from django.db import connection, transaction

    from messaging import check_log
    from rooms.models import Installation, Room

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return {
            "epoch": Installation.current().epoch,
            "rooms": {room.slug: _room(room) for room in Room.objects.with_heads()},
            "check_log": [
                [*found]
                for rule in check_log.RULES
                for found in check_log.faults(rule, 5)
            ],
        }


def _room(room):
    from messaging.history import fields_of

    visits = room.visits.filter(settled=False)
    return {
        "head": room.head.seq,
        "events": [_row(event) for event in fields_of(room.events.order_by("seq"))],
        "members": sorted(room.members.values_list("username", flat=True)),
        "here": sorted(set(visits.values_list("user__username", flat=True))),
    }


def _row(event):
    from messaging import protocol

    wire = orjson.loads(protocol.encode(protocol.event(event)))
    body = wire.get("body")
    return (
        event.seq,
        event.kind,
        event.actor,
        event.target,
        wire.get("cause"),
        wire.get("key"),
        body and digest(body),
        digest(wire),
    )


async def tell_state(page, is_member):
    """Tell whether a page shows what a new one would. A log that grows meanwhile is
    looked at again."""
    for _try in range(TRIES):
        last, why = page.last, "it could not be loaded anew"
        with suppress(httpx.HTTPError, ValueError):
            fresh = await fresh_state(page)
            why = difference(shown_state(page), fresh)
            if last == page.last == fresh["last"]:
                break
        await asyncio.sleep(1)
    page.tell(
        "state",
        user=page.person.name,
        epoch=page.epoch,
        last=page.last,
        live=page.is_live,
        member=is_member,
        same=not why,
        why=why,
    )


def difference(shown, fresh):
    """What is not the same, in words; "" if all is."""
    return "; ".join(
        f"{name}: {shown[name]} shown, {fresh[name]} in a new page"
        for name in shown
        if shown[name] != fresh[name]
    )[:1000]


def shown_state(page):
    return {
        "epoch": page.epoch,
        "last": page.last,
        "floor": page.floor,
        "here": sorted(page.here),
        "lines": dict(page.lines),
    }


async def fresh_state(page):
    """The same, of a page that is loaded now and scrolled up to the first line that is
    shown."""
    log = await log_of(page)
    events = await events_from(page, page.lines[0][0] if page.lines else 0, log)
    data = await page.person.page_data(page.slug)
    return {
        "epoch": log["epoch"],
        "last": log["head"],
        "floor": log["floor"],
        "here": sorted(person["id"] for person in data["here"]),
        "lines": {event["seq"]: digest(event) for event in events},
    }


async def events_from(page, first, log):
    """The events numbered `first` or more, newest page first: long messages take more
    than one, since a page of the log is bounded by bytes, too."""
    events = log["events"]
    while log["more_before"] and events[0]["seq"] > first:
        log = await log_of(page, before=events[0]["seq"])
        events = log["events"] + events
    return [event for event in events if event["seq"] >= first]


async def log_of(page, **place):
    status, log = await page.person.log(page.slug, limit=KEPT, **place)
    if status != 200:
        raise ValueError(f"the log was answered {status}")
    return log


if __name__ == "__main__":
    database_job.answer(lambda _nothing: _dump())

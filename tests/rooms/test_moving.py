"""What a former release stored elsewhere is read, and moved, bit by bit."""

import pytest
from django.db import connection

from messaging import history
from rooms.models import Event, EventText
from rooms.moving import move_texts
from tests.config.test_backup import faults


@pytest.fixture
def former(room, alice, bob):
    """The lobby as the former release left it, with the texts in `Event.data`."""
    room.set_topic("Tea", by=alice)
    room.clear(by=alice)
    room.kick(bob, by=alice, reason="noise")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE rooms_event SET data = data || jsonb_build_object("
            " CASE kind WHEN 'topic' THEN 'topic' ELSE 'reason' END, body)"
            " FROM rooms_eventtext WHERE event_id = id"
        )
    EventText.objects.all().delete()
    return room


def shown(room):
    return [
        {name: event[name] for name in ("kind", "topic", "reason") if name in event}
        for event in history.page(room, 7).events
        if event["kind"] in ("topic", "clear", "kick")
    ]


SHOWN = [{"kind": "clear", "reason": ""}, {"kind": "kick", "reason": "noise"}]


@pytest.mark.parametrize("at_once", [1, 50_000])
def test_texts_are_read_where_they_are_and_moved(former, at_once, monkeypatch):
    monkeypatch.setattr("rooms.moving.AT_ONCE", at_once)
    assert shown(former) == SHOWN
    assert len(faults()) == 3
    assert move_texts() == 3
    assert shown(former) == SHOWN
    assert faults() == []
    assert [text.body for text in EventText.objects.order_by("event__seq")] == [
        *("Tea", "", "noise")
    ]
    clear = Event.objects.get(kind="clear")
    assert clear.data == {"reason": "", "before": 1}
    former.restore(clear.seq, by=clear.actor)


def test_moved_once_they_are_left_alone(former):
    move_texts()
    before = list(Event.objects.values_list("pk", "data"))
    assert move_texts() == 0
    assert list(Event.objects.values_list("pk", "data")) == before

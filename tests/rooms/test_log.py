"""A room is a numbered log: 1, 2, 3 … whatever happens."""

import threading

import pytest
from django.db import connection, transaction

from rooms.models import Event, EventText, Head
from rooms.models.log import writing
from rooms.signals import appended


def numbers(room):
    return list(room.events.order_by("seq").values_list("seq", flat=True))


def test_everything_takes_the_next_number(room, alice):
    assert numbers(room) == [1, 2, 3, 4]
    assert room.set_topic("News", by=alice).seq == 5
    assert Head.objects.get(room=room).seq == 5


def test_a_rollback_leaves_no_hole(room, alice):
    with pytest.raises(ZeroDivisionError), writing(room.pk) as log:
        log.append(room.pk, Event.Kind.JOIN, alice)
        log.flush()
        raise ZeroDivisionError
    assert room.set_topic("News", by=alice).seq == 5
    assert numbers(room) == [1, 2, 3, 4, 5]


def test_a_commit_is_announced_once_with_its_events(
    room, alice, django_capture_on_commit_callbacks
):
    heard = []

    def hear(room_id, events, **signal):
        heard.append((room_id, [event.seq for event in events]))

    appended.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            room.set_topic("News", by=alice)
        assert heard == [(room.pk, [5])]
    finally:
        appended.disconnect(hear)


def test_storing_many_events_takes_one_statement(
    room, alice, django_assert_num_queries
):
    for count in (1, 100):
        with writing(room.pk) as log:
            for _nth in range(count):
                log.append(room.pk, Event.Kind.JOIN, alice)
            with django_assert_num_queries(1):
                log.flush()


def test_the_texts_of_many_events_take_one_statement_more(
    room, alice, django_assert_num_queries
):
    for count in (1, 100):
        with writing(room.pk) as log:
            for nth in range(count):
                log.append(room.pk, Event.Kind.TOPIC, alice, text=f"{nth}")
            with django_assert_num_queries(2):
                log.flush()
    texts = EventText.objects.order_by("event__seq").values_list("body", flat=True)
    assert list(texts)[-100:] == [f"{nth}" for nth in range(100)]


def test_what_people_wrote_stands_beside_the_log(room, alice, bob):
    room.set_topic("Tea", by=alice)
    room.clear(by=alice, reason="noise")
    room.kick(bob, by=alice, reason="noise")
    for event in room.events.all():
        assert not {"Tea", "noise"} & set(event.data.values())
    written = EventText.objects.order_by("event__seq").values_list("body", flat=True)
    assert list(written) == ["Tea", "noise", "noise"]


def test_a_room_that_is_not_there_is_not_locked(room):
    with writing(room.pk, 999_999) as log:
        assert set(log.rooms) == {room.pk}


def test_later_numbers_are_not_earlier_in_time(room, alice):
    for nth in range(20):
        room.set_topic(f"News {nth}", by=alice)
    times = list(room.events.order_by("seq").values_list("at", flat=True))
    assert times == sorted(times)


@pytest.mark.django_db(transaction=True)
def test_time_follows_the_numbers_even_for_who_waited_for_the_lock(room, alice):
    """The clock is read after the lock: a waiting writer began its statement first."""
    locked, waiting = threading.Event(), threading.Event()

    def wait_for_lock():
        locked.wait(5)
        waiting.set()
        with writing(room.pk) as log:
            log.append(room.pk, Event.Kind.JOIN, alice)
        connection.close()

    thread = threading.Thread(target=wait_for_lock)
    thread.start()
    with transaction.atomic():
        list(Head.objects.select_for_update().filter(room=room))
        locked.set()
        waiting.wait(5)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")
        with writing(room.pk) as log:
            log.append(room.pk, Event.Kind.JOIN, alice)
    thread.join(5)
    times = list(room.events.order_by("seq").values_list("at", flat=True))
    assert len(times) == 6
    assert times == sorted(times)


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_the_same_rooms_do_not_wait_for_each_other_for_ever(alice):
    from rooms.models import Room

    one, two = (
        Room.objects.create_with_owner("one", alice),
        Room.objects.create_with_owner("two", alice),
    )
    faults = []

    def write(*room_ids):
        try:
            for _nth in range(30):
                with writing(*room_ids) as log:
                    for room_id in room_ids:
                        log.append(room_id, Event.Kind.JOIN, alice)
        except Exception as fault:
            faults.append(fault)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=write, args=rooms)
        for rooms in [(one.pk, two.pk), (two.pk, one.pk)] * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not faults
    assert numbers(one) == numbers(two) == list(range(1, 182))

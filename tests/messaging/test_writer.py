"""Many requests, one transaction; and whatever is repeated is stored once."""

import asyncio
import random
import threading
import time
from collections import defaultdict

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging import check_log
from messaging.models import Message
from messaging.writing.queue import MAX_BATCH, MAX_WAITING, Writer
from messaging.writing.requests import (
    EnterRoom,
    ExitRoom,
    PostMessage,
    Unknown,
    write_batch,
)
from rooms.models import Event, Head, Installation, Room, Visit
from rooms.models.attendance import Cause
from rooms.rights import Refused


def code(outcome):
    return outcome.code if isinstance(outcome, Refused) else outcome


def assert_sound():
    found = {rule.name: check_log.faults(rule, 5) for rule in check_log.RULES}
    assert found == {rule.name: [] for rule in check_log.RULES}


def test_what_was_said_takes_the_next_numbers_in_order(room, alice, bob):
    outcomes = write_batch(
        [
            PostMessage(room.pk, alice, "a", "**one**"),
            PostMessage(
                room.pk, bob, "b", "**two**", html="<p><strong>two</strong></p>"
            ),
        ]
    )
    assert outcomes == [5, 6]
    one, two = Message.objects.order_by("event__seq")
    assert (one.body, one.html) == ("**one**", "<p>**one**</p>")
    assert (two.body, two.html) == ("**two**", "<p><strong>two</strong></p>")
    assert_sound()


def test_a_repeated_post_gets_the_number_it_has(room, bob):
    again = [PostMessage(room.pk, bob, "k", "hi") for _nth in range(100)]
    assert write_batch(again) == [5] * 100
    assert write_batch(again) == [5] * 100
    assert Message.objects.count() == 1


def test_what_was_meant_for_a_log_before_a_restore_is_not_written(room, bob):
    epoch = Installation.current().epoch
    assert write_batch([PostMessage(room.pk, bob, "k", "hi", epoch=epoch)]) == [5]
    Installation.renew()
    for name in ("k", "l"):
        (outcome,) = write_batch([PostMessage(room.pk, bob, name, "hi", epoch=epoch)])
        assert code(outcome) == "try_later"
    assert room.events.count() == 5


def test_a_key_stands_for_one_message(room, alice, bob):
    other = Room.objects.create_with_owner("other", bob)
    write_batch([PostMessage(room.pk, bob, "k", "hi")])
    outcomes = write_batch(
        [
            PostMessage(room.pk, bob, "k", "something else"),
            PostMessage(other.pk, bob, "k", "hi"),
            PostMessage(room.pk, bob, "k", "hi", me=True),
            PostMessage(
                room.pk, alice, "k", "hi"
            ),  # another author's keys are their own
        ]
    )
    assert [code(outcome) for outcome in outcomes] == ["key_reused"] * 3 + [6]


def test_a_refused_post_takes_no_number(room, bob, stranger):
    outcomes = write_batch(
        [
            PostMessage(room.pk, stranger, "s", "let me in"),
            PostMessage(room.pk, bob, "b", "hi"),
            PostMessage(999_999, bob, "c", "nowhere"),
        ]
    )
    assert [code(outcome) for outcome in outcomes] == ["not_allowed", 5, "not_allowed"]
    assert not Message.objects.filter(author=stranger).exists()


def test_who_was_kicked_cannot_speak_above_the_kick(room, alice, bob):
    kick = room.kick(bob, by=alice)
    (outcome,) = write_batch([PostMessage(room.pk, bob, "k", "one more thing")])
    assert code(outcome) == "not_allowed"
    assert not room.events.filter(seq__gt=kick.seq, kind="message").exists()


def test_who_was_deactivated_cannot_speak(room, bob):
    type(bob).objects.filter(pk=bob.pk).update(is_active=False)
    (outcome,) = write_batch([PostMessage(room.pk, bob, "k", "hello?")])
    assert code(outcome) == "not_allowed"


def test_an_archived_room_is_silent(room, alice, bob):
    room.archive(by=alice)
    (outcome,) = write_batch([PostMessage(room.pk, bob, "k", "hello?")])
    assert code(outcome) == "archived"


def test_a_batch_has_a_fixed_number_of_statements(
    room, alice, bob, node, django_assert_num_queries
):
    def said(count):
        return [
            PostMessage(room.pk, bob, f"{count}-{nth}", "hi") for nth in range(count)
        ]

    # Begin, lock, rights, keys, 2 × store, commit.
    with django_assert_num_queries(7):
        write_batch(said(1))
    with django_assert_num_queries(7):
        write_batch(said(200))
    # Begin, lock, rights, node, who is here, visits, store, commit.
    with django_assert_num_queries(8):
        write_batch(
            [EnterRoom(room.pk, alice, node.pk), EnterRoom(room.pk, bob, node.pk)]
        )


# The queue ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_one_bad_draft_costs_no_other(room, bob):
    """A NUL cannot be stored; the protocol refuses it, so this stands for any fault."""
    writer = Writer()
    requests = [PostMessage(room.pk, bob, f"k{nth}", "hi") for nth in range(5)]
    requests[2].body = "a\x00b"
    outcomes = await asyncio.gather(
        *(writer.write(request) for request in requests), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [5, 6, 7, 8]
    assert isinstance(outcomes[2], Exception)


@pytest.mark.django_db(transaction=True)
async def test_what_waits_is_written_together(room, bob, monkeypatch):
    sizes = []

    def counted(requests):
        sizes.append(len(requests))
        return write_batch(requests)

    monkeypatch.setattr("messaging.writing.queue.write_batch", counted)
    writer = Writer()
    requests = [PostMessage(room.pk, bob, f"k{nth}", "hi") for nth in range(500)]
    seqs = await asyncio.gather(*(writer.write(request) for request in requests))
    assert seqs == list(range(5, 505))
    assert sizes == [200, 200, 100]


async def test_a_full_queue_answers_at_once(monkeypatch):
    async def never(requests):
        await asyncio.sleep(60)

    monkeypatch.setattr("messaging.writing.queue._outcomes", never)
    writer = Writer()
    waiting = []
    for count in (MAX_WAITING, MAX_BATCH):  # the first batch leaves the queue at once
        for nth in range(count):
            request = PostMessage(1, None, str(nth), "hi")
            waiting.append(asyncio.create_task(writer.write(request)))
        await asyncio.sleep(0.1)
    with pytest.raises(Refused) as refused:
        await writer.write(PostMessage(1, None, "k", "hi"))
    assert refused.value.code == "busy"
    # Who is gone is gone: nobody would ask again.
    waiting.append(asyncio.create_task(writer.write(ExitRoom(1, 1, Cause.CLOSED))))
    await asyncio.sleep(0.1)
    assert not waiting[-1].done()
    for task in waiting:
        task.cancel()
    writer._shared.draining.cancel()


def store_and_fall_silent(requests):
    write_batch(requests)
    raise OperationalError("the line broke as it committed")


def fall_silent(requests):
    raise OperationalError("the line broke before it committed")


@sync_to_async
def open_visits():
    return list(Visit.objects.open().order_by("pk").values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
async def test_a_coming_of_unknown_fate_leaves_no_ghost(
    room, alice, bob, node, monkeypatch
):
    writer = Writer()
    held = await writer.write(EnterRoom(room.pk, bob, node.pk))
    monkeypatch.setattr("messaging.writing.queue.write_batch", store_and_fall_silent)
    with pytest.raises(Unknown):
        await writer.write(EnterRoom(room.pk, alice, node.pk))
    assert await sync_to_async(Visit.objects.count)() == 2
    await writer.finish()
    assert await open_visits() == [held.visit_id]


@pytest.mark.django_db(transaction=True)
async def test_a_going_of_unknown_fate_is_made_good(
    room, alice, bob, node, monkeypatch
):
    writer = Writer()
    held = await writer.write(EnterRoom(room.pk, bob, node.pk))
    gone = await writer.write(EnterRoom(room.pk, alice, node.pk))
    monkeypatch.setattr("messaging.writing.queue.write_batch", fall_silent)
    with pytest.raises(Unknown):
        await writer.write(ExitRoom(room.pk, gone.visit_id, Cause.CLOSED))
    await writer.finish()
    assert await open_visits() == [held.visit_id]


@pytest.fixture
def hold():
    """hold(room): somebody else holds its lock; release with the function returned."""
    server = connection.settings_dict
    lines = []

    def hold(room):
        line = psycopg.connect(
            host=server["HOST"], dbname=server["NAME"], user=server["USER"]
        )
        lines.append(line)
        line.execute("SELECT FROM rooms_head WHERE room_id = %s FOR UPDATE", [room.pk])
        return line.rollback

    yield hold
    for line in lines:
        line.close()


@sync_to_async
def room_of(owner, slug):
    return Room.objects.create_with_owner(slug, owner)


def until_locked(write):
    def write_soon(*args):
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            try:
                return write(*args)
            finally:
                cursor.execute("RESET lock_timeout")

    return write_soon


@pytest.fixture
def patient(monkeypatch):
    """As in a server: for a lock one waits a second at most."""
    for name in (
        "messaging.writing.queue.write_batch",
        "rooms.models.attendance.close_unheld",
    ):
        monkeypatch.setattr(name, until_locked(import_string(name)))


async def say(writer, room, user, key):
    """(the code or number that a post gets, after how many seconds)"""
    began = time.monotonic()
    try:
        outcome = await writer.write(PostMessage(room.pk, user, key, "hi"))
    except Refused as refused:
        outcome = refused.code
    return outcome, time.monotonic() - began


async def is_quick(writer, room, user, *keys):
    """Posts are written, none of them after more than half a second."""
    told = [await say(writer, room, user, key) for key in keys]
    return all(isinstance(outcome, int) and seconds < 0.5 for outcome, seconds in told)


@pytest.mark.django_db(transaction=True)
async def test_a_locked_room_lets_only_its_own_wait(
    room, alice, bob, node, hold, patient
):
    writer = Writer()
    free = await room_of(bob, "free")
    gone = await writer.write(EnterRoom(room.pk, alice, node.pk))
    release = await sync_to_async(hold)(room)
    leaving = asyncio.create_task(
        writer.write(ExitRoom(room.pk, gone.visit_id, Cause.CLOSED))
    )
    first = await asyncio.gather(
        say(writer, room, bob, "k"), say(writer, free, bob, "f0")
    )
    assert first[0][0] == "try_later"  # in time to be sent again
    assert first[0][1] < 3
    assert isinstance(first[1][0], int)
    # From now on it waits alone, also when it is tried again and again.
    for nth in range(3):
        again = asyncio.create_task(say(writer, room, bob, "k"))
        assert await is_quick(writer, free, bob, *(f"f{nth}-{n}" for n in range(3)))
        assert (await again)[0] == "try_later"
    assert not leaving.done()  # nobody would say that once more
    await sync_to_async(release)()
    await leaving
    assert (await say(writer, room, bob, "k"))[0] == 6
    assert not writer._locked_rooms  # it shares the queue again
    visit = await Visit.objects.aget(pk=gone.visit_id)
    assert visit.cause == Cause.CLOSED
    await sync_to_async(assert_sound)()


@pytest.mark.django_db(transaction=True)
async def test_a_locked_room_without_requests_is_not_forgotten(
    room, bob, hold, patient
):
    """Nothing waits in its queue; still the next request must not stop the others."""
    writer = Writer()
    free = await room_of(bob, "free")
    await sync_to_async(hold)(room)
    assert (await say(writer, room, bob, "k"))[0] == "try_later"
    assert writer.waiting == writer.locked == 0
    again = asyncio.create_task(say(writer, room, bob, "k"))
    assert await is_quick(writer, free, bob, "f0", "f1")
    await again


@pytest.mark.django_db(transaction=True)
async def test_a_lock_that_is_let_go_costs_nothing_but_time(room, bob, hold, patient):
    """In their order, and without a word to anybody: it was not long."""
    writer = Writer()
    free = await room_of(bob, "free")
    release = await sync_to_async(hold)(room)
    requests = [
        PostMessage(one.pk, bob, f"{one.pk}-{nth}", "hi")
        for nth in range(300)
        for one in (room, free)
    ]
    tasks = [asyncio.create_task(writer.write(request)) for request in requests]
    await asyncio.sleep(1.5)
    assert await asyncio.gather(*tasks[1::2]) == list(range(2, 302))
    assert not any(task.done() for task in tasks[::2])
    await sync_to_async(release)()
    assert await asyncio.gather(*tasks[::2]) == list(range(5, 305))
    await sync_to_async(assert_sound)()


@pytest.mark.django_db(transaction=True)
async def test_of_two_locked_rooms_the_one_that_is_free_goes_on(
    room, bob, hold, patient
):
    writer = Writer()
    other = await room_of(bob, "other")
    await sync_to_async(hold)(room)
    release = await sync_to_async(hold)(other)
    outcomes = await asyncio.gather(
        say(writer, room, bob, "k"), say(writer, other, bob, "o")
    )
    assert [outcome for outcome, _seconds in outcomes] == ["try_later"] * 2
    await sync_to_async(release)()
    held = asyncio.create_task(say(writer, room, bob, "k"))
    assert await is_quick(writer, other, bob, "o", "p", "q")
    await held
    assert list(writer._locked_rooms) == [room.pk]


@pytest.mark.django_db(transaction=True)
async def test_a_room_that_waits_for_another_is_not_kept_for_long(
    room, bob, hold, patient
):
    """A batch that waits for one lock holds the locks before it; so two processes
    with the same rooms stand in each other's way, but not twice."""
    free = await room_of(bob, "free")
    low, high = sorted((room, free), key=lambda one: one.pk)
    await sync_to_async(hold)(high)
    writers = Writer(), Writer()
    for nth in range(2):
        await asyncio.gather(
            *(
                say(writer, one, bob, f"{nth}-{name}-{one.pk}")
                for name, writer in enumerate(writers)
                for one in (low, high)
            )
        )
    for name, writer in enumerate(writers):
        assert await is_quick(writer, low, bob, f"{name}-x", f"{name}-y")


@pytest.mark.django_db(transaction=True)
async def test_a_doubt_in_a_locked_room_keeps_no_other_waiting(
    room, alice, bob, node, hold, patient, monkeypatch
):
    writer = Writer()
    free = await room_of(bob, "free")
    with monkeypatch.context() as broken:
        broken.setattr("messaging.writing.queue.write_batch", store_and_fall_silent)
        with pytest.raises(Unknown):
            await writer.write(EnterRoom(room.pk, alice, node.pk))
        release = await sync_to_async(hold)(room)
    await say(writer, free, bob, "f0")
    assert await is_quick(writer, free, bob, "f1", "f2", "f3")
    await sync_to_async(release)()
    await writer.finish()
    assert await open_visits() == []


@pytest.mark.django_db(transaction=True)
async def test_a_doubt_that_cannot_be_settled_stops_no_queue(
    room, alice, bob, node, monkeypatch
):
    def fail(places, held):
        raise ZeroDivisionError

    writer = Writer()
    with monkeypatch.context() as broken:
        broken.setattr("messaging.writing.queue.write_batch", store_and_fall_silent)
        broken.setattr("rooms.models.attendance.close_unheld", fail)
        with pytest.raises(Unknown):
            await writer.write(EnterRoom(room.pk, alice, node.pk))
        await asyncio.sleep(0.1)
        broken.setattr("messaging.writing.queue.write_batch", write_batch)
        await writer.write(PostMessage(room.pk, bob, "k", "hi"))
        assert len(await open_visits()) == 1
    await writer.finish()
    assert await open_visits() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(3))
def test_32_writers_at_once(seed, alice, bob, carol, node):
    """Over several rooms, with retries, wrong keys, comings, goings, kicks, and
    transactions that fail: 1…head, one row a key, equal acks."""
    dice = random.Random(seed)
    rooms = [Room.objects.create_with_owner(f"room-{nth}", alice) for nth in range(3)]
    for room in rooms:
        room.admit(bob)
        room.admit(carol)
    acks, lock, faults = defaultdict(set), threading.Lock(), []

    def work(dice):
        try:
            for _nth in range(8):
                step(dice)
        except Exception as fault:
            faults.append(fault)
        finally:
            connection.close()

    def step(dice):
        requests = [request(dice) for _nth in range(dice.randint(1, 12))]
        try:
            outcomes = write_batch(requests)
        except ZeroDivisionError:
            return
        with lock:
            for one, outcome in zip(requests, outcomes, strict=True):
                if isinstance(one, PostMessage) and isinstance(outcome, int):
                    acks[one.user.pk, one.key].add((one.room_id, outcome))

    def request(dice):
        room = dice.choice(rooms)
        user = dice.choice([alice, bob, carol])
        match dice.random():
            case chance if chance < 0.7:
                key = f"key-{dice.randint(1, 150)}"
                body = key if dice.random() < 0.95 else "another text"
                return PostMessage(rooms[int(key[4:]) % 3].pk, user, key, body)
            case chance if chance < 0.72:
                return Failing(room.pk, user, "f", "never stored")
            case chance if chance < 0.9:
                return EnterRoom(room.pk, user, node.pk)
        visit = Visit.objects.filter(room=room).order_by("?").first()
        return ExitRoom(room.pk, visit.pk if visit else 0, Cause.SIGNED_OUT)

    threads = [
        threading.Thread(target=work, args=[random.Random(dice.random())])
        for _nth in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert all(len(answers) == 1 for answers in acks.values())
    for (author, key), answers in acks.items():
        stored = Message.objects.get(author_id=author, key=key).event
        assert answers == {(stored.room_id, stored.seq)}
    assert Message.objects.count() == len(acks)
    assert_sound()


class Failing(PostMessage):
    """A request in whose batch something goes wrong after its number was given."""

    __slots__ = ()

    @property
    def me(self):
        raise ZeroDivisionError

    @me.setter
    def me(self, value):
        pass


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["alice", "bob", "stranger"]),
            st.sampled_from(["k1", "k2", "k3"]),
            st.sampled_from(["x", "y"]),
        ),
        max_size=20,
    )
)
def test_any_sequence_of_posts_ends_in_one_row_a_key(room, alice, bob, stranger, posts):
    people = {"alice": alice, "bob": bob, "stranger": stranger}
    Message.objects.all().delete()
    Event.objects.filter(seq__gt=4).delete()
    Head.objects.update(seq=4)
    expected = {}
    for name, key, body in posts:
        (outcome,) = write_batch([PostMessage(room.pk, people[name], key, body)])
        if name == "stranger":
            assert code(outcome) == "not_allowed"
            continue
        seq, first = expected.setdefault((name, key), (4 + len(expected) + 1, body))
        assert code(outcome) == (seq if body == first else "key_reused")
    assert Head.objects.get(room=room).seq == 4 + len(expected)
    assert_sound()

"""Who is here: visits, and the lines that tell of them. Time is the database's."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from messaging import check_log, history
from messaging.writing.requests import EnterRoom, ExitRoom, write_batch
from rooms.models import Event, Head, Node, Room, Visit, attendance
from rooms.models.attendance import DEAD_AFTER, GRACE, Cause
from rooms.models.log import timestamp, writing
from rooms.rights import Refused
from tests.support.fixtures import make_person
from tests.support.servers import wait_until


@pytest.fixture(autouse=True)
def sound(db):
    """After each test the log is what it claims to be."""
    yield
    found = {rule.name: check_log.faults(rule, 5) for rule in check_log.RULES}
    assert found == {rule.name: [] for rule in check_log.RULES}


@pytest.fixture
def arrive(room, node):
    def arrive(*people, at=node, room=room):
        """They open the room's page; the ids of their visits."""
        outcomes = write_batch([EnterRoom(room.pk, person, at.pk) for person in people])
        return [outcome.visit_id for outcome in outcomes]

    return arrive


@pytest.fixture
def depart(room):
    def depart(*visits, cause=Cause.CLOSED):
        write_batch([ExitRoom(room.pk, visit, cause) for visit in visits])

    return depart


def pass_time(gone):
    """So much time goes by: visits and lines are older by it."""
    for rows, fields in ((Visit, ["opened_at", "closed_at"]), (Event, ["at"])):
        rows.objects.update(**{field: F(field) - gone for field in fields})


def lines(room):
    """What the log says of comings and goings: [(name, kind or cause)]."""
    events = room.events.filter(kind__in=["enter", "leave"]).order_by("seq")
    return [
        (event.actor.username, event.data.get("cause", event.kind))
        for event in events.select_related("actor")
    ]


def here(room):
    """Who is here, by the page's list and by the counter, which agree."""
    names = [person["name"] for person in history.here(room.pk)]
    assert Head.objects.get(room=room).here == len(names)
    return names


def silence(node):
    """The server was last heard a moment too long ago."""
    Node.objects.filter(pk=node.pk).update(heartbeat=Now() - DEAD_AFTER * 1.1)
    node.refresh_from_db()


# Coming in, going out --------------------------------------------------------------


def test_who_opens_the_page_comes_in(room, alice, bob, arrive):
    arrive(alice)
    arrive(bob)
    assert lines(room) == [("alice", "enter"), ("bob", "enter")]
    assert here(room) == ["alice", "bob"]
    assert room.events.filter(kind="enter").first().data == {"role": "owner"}


def test_who_closes_it_is_here_until_the_grace_is_over(room, bob, arrive, depart):
    (visit,) = arrive(bob)
    depart(visit)
    assert attendance.sweep() == 0
    assert here(room) == ["bob"]
    pass_time(GRACE * 1.01)
    assert attendance.sweep() == 1
    assert lines(room) == [("bob", "enter"), ("bob", "closed")]
    assert here(room) == []
    assert attendance.sweep() == 0


def test_the_grace_is_ten_seconds(room, bob, arrive, depart):
    depart(*arrive(bob))
    pass_time(timedelta(seconds=9))
    assert attendance.sweep() == 0
    assert here(room) == ["bob"]
    pass_time(timedelta(seconds=1.1))
    assert attendance.sweep() == 1


def test_a_leave_tells_when_they_were_last_seen(room, bob, arrive, depart):
    (visit,) = arrive(bob)
    depart(visit)
    pass_time(GRACE * 6)
    attendance.sweep()
    leave = room.events.get(kind="leave")
    closed_at = Visit.objects.get().closed_at
    assert leave.data["seen"] == timestamp(closed_at)
    assert (leave.at - closed_at).total_seconds() == pytest.approx(60, abs=5)


def test_who_comes_back_within_the_grace_has_not_left(room, bob, arrive, depart):
    for _nth in range(3):
        (visit,) = arrive(bob)
        depart(visit)
        pass_time(GRACE * 0.8)
        attendance.sweep()
    assert lines(room) == [("bob", "enter")]
    pass_time(GRACE)
    assert attendance.sweep() == 1


def test_who_comes_back_later_comes_in_again(room, bob, arrive, depart):
    for _nth in range(2):
        depart(*arrive(bob))
        pass_time(GRACE * 1.1)
        assert attendance.sweep() == 1
    assert lines(room) == [("bob", "enter"), ("bob", "closed")] * 2


def test_who_has_two_tabs_leaves_with_the_last(room, bob, arrive, depart):
    one, two = arrive(bob), arrive(bob)
    depart(*one)
    pass_time(GRACE * 2)
    assert attendance.sweep() == 0
    assert here(room) == ["bob"]
    depart(*two, cause=Cause.TIMED_OUT)
    pass_time(GRACE * 2)
    assert attendance.sweep() == 1
    assert lines(room) == [("bob", "enter"), ("bob", "timed out")]


def test_two_tabs_that_open_in_one_transaction_are_one_coming(room, bob, arrive):
    arrive(bob, bob)
    assert lines(room) == [("bob", "enter")]
    assert Visit.objects.count() == 2


def test_one_may_be_in_two_rooms(room, alice, arrive, depart):
    other = Room.objects.create_with_owner("other", alice)
    (visit,) = arrive(alice)
    arrive(alice, room=other)
    depart(visit)
    pass_time(GRACE * 2)
    assert attendance.sweep() == 1
    assert (here(room), here(other)) == ([], ["alice"])


def test_who_signs_out_is_gone_at_once(room, bob, arrive, depart):
    depart(*arrive(bob), cause=Cause.SIGNED_OUT)
    assert lines(room) == [("bob", "enter"), ("bob", "signed out")]
    assert here(room) == []


def test_who_signs_out_here_and_not_there_is_still_here(room, bob, arrive, depart):
    phone, desk = arrive(bob), arrive(bob)
    depart(*phone, cause=Cause.SIGNED_OUT)
    assert here(room) == ["bob"]
    depart(*desk, cause=Cause.SIGNED_OUT)
    assert lines(room) == [("bob", "enter"), ("bob", "signed out")]


def test_who_signs_out_with_a_page_in_its_grace_is_gone_at_once(
    room, bob, arrive, depart
):
    one, two = arrive(bob), arrive(bob)
    depart(*one)
    depart(*two, cause=Cause.SIGNED_OUT)
    assert lines(room) == [("bob", "enter"), ("bob", "signed out")]


def test_a_visit_is_closed_once(room, bob, arrive, depart):
    (visit,) = arrive(bob)
    depart(visit, visit)
    closed = Visit.objects.get()
    pass_time(GRACE / 2)
    depart(visit, cause=Cause.SIGNED_OUT)
    depart(987_654, cause=Cause.SIGNED_OUT)
    again = Visit.objects.get()
    assert again.cause == closed.cause == "closed"
    assert again.closed_at == closed.closed_at - GRACE / 2
    assert here(room) == ["bob"]


def test_many_leave_in_one_sweep_each_with_their_own_line(
    room, alice, bob, carol, arrive, depart
):
    visits = arrive(alice, bob, carol)
    depart(visits[0])
    depart(visits[2], cause=Cause.TIMED_OUT)
    pass_time(GRACE * 2)
    assert attendance.sweep() == 2
    assert set(lines(room)[3:]) == {("alice", "closed"), ("carol", "timed out")}
    assert here(room) == ["bob"]


@pytest.mark.parametrize("count", [1, 25])
def test_a_sweep_takes_as_many_statements_for_many_as_for_one(
    count, room, arrive, depart, django_assert_num_queries
):
    people = [make_person(f"person{nth}") for nth in range(count)]
    for person in people:
        room.admit(person)
    depart(*arrive(*people))
    pass_time(GRACE * 2)
    with django_assert_num_queries(18):
        assert attendance.sweep() == count


@pytest.fixture
def crowd(room, node, arrive):
    """200 people are here with 15 pages each."""
    people = [make_person(f"person{nth}") for nth in range(200)]
    for person in people:
        room.admit(person)
    for _nth in range(15):
        arrive(*people)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE rooms_visit")


def rows_read(plan):
    """The most rows that any step of a plan has seen."""
    steps = [rows_read(step) for step in plan.get("Plans", ())]
    removed = plan.get("Rows Removed by Filter", 0)
    return max([plan["Actual Rows"] * plan["Actual Loops"] + removed, *steps])


def test_a_look_at_what_is_due_reads_none_who_are_present(
    crowd, room, alice, arrive, depart
):
    depart(*arrive(alice))
    pass_time(GRACE * 2)
    due = attendance._due()
    assert list(due.values_list("user_id", flat=True)) == [alice.pk]
    (found,) = json.loads(due.explain(analyze=True, format="json"))
    assert rows_read(found["Plan"]) < 100


def test_a_sweep_ends_in_time_and_the_next_goes_on(room, alice, bob, arrive, depart):
    attic = Room.objects.create_with_owner("attic", alice)
    depart(*arrive(alice, room=attic), *arrive(bob))
    pass_time(GRACE * 2)
    assert attendance.sweep(within=0) == 0
    assert attendance.sweep(within=10) == 2


# Kick, leave, sign-out -------------------------------------------------------------


def test_a_kick_closes_all_visits_and_is_told_first(room, alice, bob, arrive, depart):
    visits = arrive(bob, bob, alice)
    depart(visits[0])
    room.kick(bob, by=alice)
    assert lines(room)[2:] == [("bob", "kicked")]
    assert [event.kind for event in room.events.order_by("-seq")[:2]] == [
        "leave",
        "kick",
    ]
    assert here(room) == ["alice"]
    causes = Visit.objects.filter(user=bob).values_list("cause", "settled")
    assert sorted(causes) == [("closed", True), ("kicked", True)]
    # The socket that closes upon it has nothing to add.
    depart(visits[1])
    pass_time(GRACE * 2)
    assert attendance.sweep() == 0


def test_who_was_not_here_is_put_out_without_a_leave(room, alice, bob):
    room.kick(bob, by=alice)
    assert lines(room) == []


def test_who_gives_up_membership_is_gone_at_once(room, bob, arrive):
    arrive(bob)
    room.part(bob)
    assert lines(room) == [("bob", "enter"), ("bob", "closed")]
    assert here(room) == []


def test_who_was_put_out_does_not_come_in(room, alice, bob, node, settings):
    settings.KICK_SECONDS = 0
    room.kick(bob, by=alice)
    (outcome,) = write_batch([EnterRoom(room.pk, bob, node.pk)])
    assert isinstance(outcome, Refused)
    assert lines(room) == []
    room.admit(bob)
    write_batch([EnterRoom(room.pk, bob, node.pk)])
    assert lines(room) == [("bob", "enter")]


@pytest.mark.parametrize("act", ["kick", "part"])
def test_a_clock_set_back_does_not_keep_anybody_in(act, room, alice, bob, arrive):
    """As on a new primary whose clock is a little behind."""
    arrive(bob)
    Visit.objects.update(opened_at=Now() + GRACE)
    assert here(room) == ["bob"]
    room.kick(bob, by=alice) if act == "kick" else room.part(bob)
    assert here(room) == []


# Servers that die ------------------------------------------------------------------


@pytest.fixture
def other_node(db):
    return Node.objects.create(name="other")


def test_the_people_of_a_dead_server_are_lost_since_its_last_sign_of_life(
    room, alice, bob, node, other_node, arrive
):
    arrive(alice)
    arrive(bob, at=other_node)
    pass_time(GRACE * 4)
    silence(other_node)
    # Dead for eight seconds, and two remain of the grace.
    assert attendance.sweep() == 0
    visit = Visit.objects.get(user=bob)
    assert (visit.cause, visit.closed_at) == ("lost", other_node.heartbeat)
    assert here(room) == ["alice", "bob"]
    pass_time(GRACE)
    assert attendance.sweep() == 1
    assert lines(room)[2:] == [("bob", "lost")]
    leave = room.events.get(kind="leave")
    visit.refresh_from_db()
    assert leave.data["seen"] == timestamp(visit.closed_at)
    assert here(room) == ["alice"]


def test_a_server_that_was_heard_just_now_is_not_dead(room, bob, node, arrive):
    arrive(bob)
    Node.objects.update(heartbeat=Now() - DEAD_AFTER * 0.8)
    attendance.sweep()
    assert Node.objects.running().exists()
    silence(node)
    attendance.sweep()
    assert not Node.objects.running().exists()


def test_who_has_a_page_at_two_servers_outlives_one(
    room, bob, node, other_node, arrive
):
    arrive(bob)
    arrive(bob, at=other_node)
    pass_time(GRACE * 4)
    silence(other_node)
    for _nth in range(2):
        assert attendance.sweep() == 0
        pass_time(GRACE * 2)
    assert lines(room) == [("bob", "enter")]
    silence(node)
    attendance.sweep()
    pass_time(GRACE)
    assert attendance.sweep() == 1
    assert lines(room) == [("bob", "enter"), ("bob", "lost")]


def test_who_moves_to_another_server_in_time_has_not_left(
    room, bob, node, other_node, arrive
):
    arrive(bob, at=other_node)
    pass_time(GRACE * 4)
    silence(other_node)
    attendance.sweep()
    arrive(bob)
    pass_time(GRACE * 4)
    assert attendance.sweep() == 0
    assert lines(room) == [("bob", "enter")]


def test_a_visit_that_began_after_the_last_heartbeat_does_not_end_before_it_began(
    room, bob, node, arrive
):
    silence(node)
    arrive(bob)
    attendance.sweep()
    visit = Visit.objects.get()
    assert (visit.cause, visit.closed_at) == ("lost", visit.opened_at)


def test_a_server_that_was_declared_dead_finds_out_and_takes_nobody(
    room, bob, node, arrive
):
    assert node.renew()
    silence(node)
    assert node.renew()  # it was slow, nobody has noticed
    silence(node)
    attendance.sweep()
    assert not node.renew()
    (outcome,) = write_batch([EnterRoom(room.pk, bob, node.pk)])
    assert (outcome.code, lines(room)) == ("try_later", [])
    new = Node.objects.create(name=node.name)
    arrive(bob, at=new)
    assert here(room) == ["bob"]


def test_a_server_that_stops_closes_its_visits_and_no_others(
    room, alice, bob, node, other_node, arrive
):
    arrive(bob)
    arrive(alice, at=other_node)
    attendance.stop_node(node)
    assert not node.renew()
    assert other_node.renew()
    causes = Visit.objects.order_by("pk").values_list("cause", flat=True)
    assert list(causes) == ["shutdown", ""]
    assert here(room) == ["bob", "alice"]
    pass_time(GRACE * 2)
    assert attendance.sweep() == 1
    assert lines(room)[2:] == [("bob", "shutdown")]
    attendance.stop_node(node)  # once more does no harm


def test_a_server_without_people_stops(node):
    attendance.stop_node(node)
    assert not Node.objects.running().exists()


def test_a_visit_that_slips_in_while_its_server_stops_is_found(room, bob, node, arrive):
    arrive(bob)
    Node.objects.update(stopped_at=Now())
    attendance.sweep()
    assert Visit.objects.get().cause == "lost"


# Two at once -----------------------------------------------------------------------


def in_threads(work, count):
    results = []

    def run():
        try:
            results.append(work())
        except Exception as fault:
            results.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _nth in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


@pytest.mark.django_db(transaction=True)
def test_while_one_sweeps_another_does_not(room, bob, arrive, depart):
    depart(*arrive(bob))
    pass_time(GRACE * 2)
    with writing():
        with connection.cursor() as cursor:
            lock = "SELECT pg_advisory_xact_lock(%s)"
            cursor.execute(lock, [attendance.SWEEP_LOCK])
        threads, results = in_threads(attendance.sweep, 1)
        threads[0].join(10)
        assert results == [None]
        assert here(room) == ["bob"]
    assert attendance.sweep() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_sweep_the_same_room_write_each_leave_once(
    room, alice, bob, carol, arrive, depart
):
    """Both have found the room; then they come to its lock."""
    depart(*arrive(alice, bob, carol))
    pass_time(GRACE * 2)
    with writing(room.pk):
        threads, results = in_threads(lambda: attendance._sweep_room(room.pk), 2)
        wait_until(lambda: waiting() == 2)
    for thread in threads:
        thread.join(10)
    assert sorted(results) == [0, 3]
    assert len(lines(room)) == 6


@pytest.mark.django_db(transaction=True)
def test_many_who_sweep_at_once_write_each_leave_once(
    room, alice, bob, carol, arrive, depart
):
    depart(*arrive(alice, bob, carol))
    pass_time(GRACE * 2)
    threads, results = in_threads(attendance.sweep, 8)
    for thread in threads:
        thread.join(10)
    assert sum(result or 0 for result in results) == 3
    assert len(lines(room)) == 6
    assert here(room) == []


@pytest.mark.django_db(transaction=True)
def test_who_comes_back_while_the_sweep_waits_has_not_left(
    room, bob, node, arrive, depart
):
    depart(*arrive(bob))
    pass_time(GRACE * 2)
    with writing(room.pk) as log:
        threads, results = in_threads(lambda: attendance._sweep_room(room.pk), 1)
        wait_until(lambda: waiting() == 1)
        coming = attendance.NewVisit(room.pk, bob, "member", node.pk)
        attendance.enter(log, [coming])
    threads[0].join(10)
    assert results == [0]
    assert lines(room) == [("bob", "enter")]


def waiting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]

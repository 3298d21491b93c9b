"""The judge is judged: it lets good histories pass, and finds every way to spoil one.

A bad history is a good one with one thing changed by hand.
"""

import pytest

from tests.lab.faults import sample_history
from tests.lab.faults.checker import INVARIANTS, Limits, check
from tests.lab.faults.index import NS

SPOILED = []  # (invariant, what, function)


def spoil(invariant, what, start=sample_history.good):
    """Register a way to spoil the SampleHistory that `start` makes."""

    def register(change):
        SPOILED.append(pytest.param(invariant, start, change, id=f"{invariant} {what}"))
        return change

    return register


def judge(told, **limits):
    records = sorted(told.records, key=lambda record: record["t"])
    return check(records, Limits(**limits))


def rows(told, room="lobby", why="end"):
    return told.find("dump", why=why)["rooms"][room]


def number_of(told, key, room="lobby", why="end"):
    """The index in the dump's events of the message with that key."""
    events = rows(told, room, why)["events"]
    return next(nth for nth, event in enumerate(events) if event[5] == key)


# Good ones --------------------------------------------------------------------------


@pytest.mark.parametrize("start", [sample_history.good, sample_history.restored])
def test_a_good_history_passes(start):
    assert judge(start()).violations == []


def test_every_invariant_has_a_history_that_breaks_it():
    assert {param.values[0] for param in SPOILED} == set(INVARIANTS)
    assert list(INVARIANTS) == [f"I{number}" for number in range(1, 16)]


def test_the_numbers_are_counted():
    numbers = judge(sample_history.good()).numbers
    assert numbers["faults"] == 4
    assert (numbers["messages"], numbers["sends"], numbers["acked"]) == (10, 11, 9)
    assert (numbers["acts"], numbers["repeated"]) == (3, 1)
    assert numbers["connections"] == 9
    assert set(numbers["recovery"]) == {"N1", "N11", "N5", "N20"}
    lost = ("lost", "doubled", "gaps", "out of order", "leaks")
    assert [numbers[name] for name in lost] == [0] * 5


def test_what_went_with_a_restored_backup_is_counted():
    assert judge(sample_history.restored()).numbers["restored away"] == 1


def test_what_was_acknowledged_while_a_backup_was_restored_may_be_gone():
    """The old epoch was dumped a moment before: what came between, nobody can tell."""
    told = sample_history.restored()
    restore = told.find("restore")
    line = {"client": "alice", "conn": 1, "room": "lobby", "op": "send", "key": "late"}
    begun = restore["t"] - 3
    told.records += [
        {"t": begun, "e": "invoke", "user": "alice", "body": "late", **line},
        {"t": begun + 1, "e": "send", "client": "alice", "conn": 1, "key": "late"},
        {"t": begun + 2, "e": "ok", "seq": 6, **line},
    ]
    assert judge(told).violations == []


def test_a_line_of_the_old_epoch_may_acknowledge_in_the_new_one():
    told = sample_history.opening()
    told.back_up()
    told.restore("two")
    told.say("alice", "a2")  # before it was reset
    for record in told.records[-6:]:
        if record["e"] == "recv":
            told.records.remove(record)
    for client in ("alice", "bob", "carol"):
        told.reset(client, "epoch")
    assert judge(told.end()).violations == []


def test_a_page_that_was_asked_for_before_the_kick_may_be_of_after_it():
    told = sample_history.opening()
    told.kick("alice", "kick-1", of="bob")
    told.read("bob", client="bob", conn=1, room="lobby")
    told.records[-1]["began"] = told.find("invoke", op="kick")["t"]
    assert judge(told.end()).violations == []


def test_a_reset_is_due_after_a_long_gap():
    told = sample_history.good()
    reset_at_welcome(told, "gap")
    assert "I5" not in judge(told, gap=-1).red


def test_a_short_fault_may_pass_without_a_sample():
    told = sample_history.opening()
    hurt_in_silence(told, "N11", 0.5)
    assert judge(told).violations == []


# Bad ones ---------------------------------------------------------------------------


@pytest.mark.parametrize(("invariant", "start", "change"), SPOILED)
def test_a_bad_history_is_found(invariant, start, change):
    told = start()
    limits = change(told) or {}
    verdict = judge(told, **limits)
    assert invariant in verdict.red, verdict.red


@spoil("I1", "an acknowledged message is not stored")
def lose(told):
    rows(told)["events"].pop(number_of(told, "a4"))


@spoil("I1", "an acknowledged message has another number")
def renumber(told):
    told.find("ok", key="a4")["seq"] -= 1


@spoil("I1", "an acknowledged message has other words")
def reword(told):
    rows(told)["events"][number_of(told, "a4")][6] = "other"


@spoil("I1", "an acknowledged kick did not happen")
def pardon(told):
    seq = told.find("ok", op="kick")["seq"]
    rows(told)["events"][seq - 1][3] = "dora"


@spoil("I1", "an acknowledged message of the backup is gone", sample_history.restored)
def lose_from_backup(told):
    rows(told)["events"].pop(number_of(told, "b1"))


@spoil(
    "I1", "a message acknowledged after the restore is gone", sample_history.restored
)
def lose_after_restore(told):
    rows(told)["events"].pop(number_of(told, "b2"))


@spoil("I1", "the old epoch had lost it before the restore", sample_history.restored)
def lose_before_restore(told):
    rows(told, why="restore")["events"].pop(number_of(told, "a2", why="restore"))


@spoil("I1", "nobody looked at the end")
def do_not_look(told):
    told.drop("dump", why="end")


@spoil("I2", "a message that nobody sent")
def invent(told):
    told.drop("ok", key="a4")
    rows(told)["events"][number_of(told, "a4")][5] = "nobody's"


@spoil("I2", "a refused message is stored")
def store_refused(told):
    row = [3, "message", "carol", None, None, "c2", "body of c2", "x"]
    rows(told, "den")["events"].append(row)


@spoil("I2", "a message stands under another name")
def misattribute(told):
    rows(told)["events"][number_of(told, "a4")][2] = "bob"


@spoil("I2", "a message stands in another room")
def misplace(told):
    row = rows(told)["events"][number_of(told, "a3")]
    rows(told, "den")["events"].append([3, *row[1:]])


@spoil("I2", "somebody was put out, and nobody did it")
def kick_unasked(told):
    told.records = [r for r in told.records if r.get("act") != "kick-1"]


@spoil("I2", "somebody was put out for two, and one asked for it")
def kick_one_more(told):
    seq, row = rows(told)["head"] + 1, ["kick", "alice", "bob", None, None, None, "x"]
    rows(told)["events"].append([seq, *row])
    rows(told)["head"] = seq


@spoil("I2", "the topic changed by itself")
def change_topic(told):
    rows(told, "den")["events"][1][1] = "topic"


@spoil("I3", "a repeated message is stored twice")
def store_twice(told):
    row = rows(told)["events"][number_of(told, "a3")]
    seq = rows(told)["head"] + 1
    rows(told)["events"].append([seq, *row[1:]])
    rows(told)["head"] = seq


@spoil("I3", "a repeated message was given two numbers")
def acknowledge_twice(told):
    store_twice(told)
    ok = told.find("ok", key="a3")
    told.records.append({**ok, "t": ok["t"] + 1, "seq": rows(told)["head"]})


@spoil("I4", "a number is missing")
def skip_a_number(told):
    rows(told)["events"].pop(2)


@spoil("I4", "a number is there twice")
def double_a_number(told):
    events = rows(told)["events"]
    events.insert(2, events[2])


@spoil("I4", "the counter is ahead of the log")
def count_ahead(told):
    rows(told)["head"] += 1


@spoil("I4", "check_log finds something")
def fail_check_log(told):
    told.find("dump")["check_log"].append(["lobby", 3, "is earlier than #2"])


@spoil("I5", "a number is skipped in delivery")
def skip_delivery(told):
    told.drop("recv", client="bob", conn=3)


@spoil("I5", "a number is delivered twice")
def deliver_twice(told):
    recv = told.find("recv", client="bob", conn=3)
    told.records.append({**recv, "t": recv["t"] + 1})


@spoil("I5", "numbers come in the wrong order")
def deliver_in_disorder(told):
    one, other = (told.find("recv", nth, client="bob", conn=1) for nth in (0, 1))
    one["events"], other["events"] = other["events"], one["events"]


@spoil("I5", "a replay begins one too late")
def replay_too_late(told):
    told.find("recv", client="bob", conn=4)["events"].pop(0)


@spoil("I5", "a replay begins one too early")
def replay_too_early(told):
    events = told.find("recv", client="bob", conn=4)["events"]
    events.insert(0, [3, "one-lobby-3"])


@spoil("I5", "a cursor of another epoch is not reset")
def ignore_epoch(told):
    told.find("dial", client="bob", conn=2)["epoch"] = "before"


@spoil("I5", "a cursor of this epoch is reset")
def reset_epoch_for_nothing(told):
    reset_at_welcome(told, "epoch")


@spoil("I5", "a cursor that is nearly at the head is reset")
def reset_gap_for_nothing(told):
    reset_at_welcome(told, "gap")


@spoil("I5", "a cursor is said to be ahead of the log")
def reset_ahead_for_nothing(told):
    reset_at_welcome(told, "ahead")


@spoil("I5", "a cursor of the new epoch is reset", sample_history.restored)
def reset_after_restore(told):
    told.records = [record for record in told.records if record["t"] < told.now * NS]
    told.break_lines("bob")
    told.reset("bob", "epoch")


def reset_at_welcome(told, reason):
    """Where nothing is to be replayed."""
    welcome = told.find("welcome", client="carol", conn=2)
    line = {name: welcome[name] for name in ("client", "conn", "room", "head")}
    told.records.append({"t": welcome["t"] + 1, "e": "reset", "reason": reason, **line})


@spoil("I6", "two readers get two things under one number")
def disagree(told):
    told.find("recv", client="bob", conn=1)["events"][0][1] = "another"


@spoil("I6", "the log holds another thing than was delivered")
def store_otherwise(told):
    rows(told)["events"][3][7] = "another"


@spoil("I6", "a restore goes on in the same epoch", sample_history.restored)
def keep_the_epoch(told):
    for record in told.records:
        if record.get("epoch") == "two":
            record["epoch"] = "one"
    told.records = [r for r in told.records if r["e"] not in ("reset", "page")]


@spoil("I7", "a page is behind at the end")
def stay_behind(told):
    told.find("state", client="bob")["last"] -= 1


@spoil("I7", "a page is in an epoch of the past", sample_history.restored)
def stay_in_the_past(told):
    told.find("state", client="bob")["epoch"] = "one"


@spoil("I7", "a page has no line at the end")
def stay_away(told):
    told.find("state", client="bob")["live"] = False


@spoil("I7", "a page shows what a new one does not")
def show_otherwise(told):
    told.find("state", client="bob")["same"] = False


@spoil("I7", "nobody looked at the pages")
def do_not_look_at_pages(told):
    told.records = [record for record in told.records if record["e"] != "state"]


@spoil("I8", "what was begun later stands before")
def swap_in_time(told):
    swap(told, "b3", "a4")


@spoil("I8", "what went over one line is turned round")
def swap_on_a_line(told):
    swap(told, "a1", "a2")
    for key in ("a1", "a2"):
        told.drop("ok", key=key)


def swap(told, one, other):
    """Two messages exchange their numbers, in the log and in what was acknowledged."""
    events = rows(told)["events"]
    first, second = (events[number_of(told, key)] for key in (one, other))
    for nth in (2, 5, 6):
        first[nth], second[nth] = second[nth], first[nth]
    oks = [told.find("ok", key=key) for key in (one, other)]
    oks[0]["seq"], oks[1]["seq"] = oks[1]["seq"], oks[0]["seq"]


@spoil("I9", "somebody speaks after being put out")
def speak_after_kick(told):
    kick = told.find("ok", op="kick")["seq"]
    events = rows(told)["events"]
    join = next(event for event in events if event[1] == "join")
    join[1], join[2] = "topic", "alice"
    assert number_of(told, "b3") + 1 > kick


@spoil("I9", "a socket gets more after its person was put out")
def read_after_kick(told):
    kick = told.find("ok", op="kick")["seq"]
    recv = told.find("recv", -1, client="bob", conn=3)
    more = [[kick + 1, f"one-lobby-{kick + 1}"]]
    told.records.append({**recv, "t": recv["t"] + 1, "events": more})


@spoil("I9", "a socket opens for who was put out before, and gets on")
def open_after_kick(told):
    """The kick fell between the check of the right and the first frame."""
    kick = told.find("ok", op="kick")["seq"]
    told.find("welcome", client="bob", conn=4)["head"] = kick
    for record in told.records:
        if record["e"] == "dump":
            events = record["rooms"]["lobby"]["events"]
            events[kick][1] = "topic"  # was the join


@spoil("I9", "a socket is welcomed whose person is no member", sample_history.opening)
def welcome_a_stranger(told):
    told.dial("dora", "den")
    told.end()


@spoil("I9", "somebody who was put out reads on by HTTP", sample_history.opening)
def read_by_http_after_kick(told):
    told.kick("alice", "kick-1", of="bob")
    told.rest(1)
    told.read("bob", client="bob", conn=1, room="lobby")
    told.end()


@spoil("I9", "a session that was signed out opens a socket")
def come_back_signed_out(told):
    told.find("dial", client="carol", conn=3)["session"] = "carol-1"


@spoil("I9", "the sockets of a session that was signed out stay")
def stay_signed_in(told):
    close = told.find("close", client="carol", code=4401)
    close["t"] += 35 * NS


@spoil("I10", "a frame carries the secret of another room")
def leak_an_event(told):
    told.find("recv", client="bob")["markers"].append("secret-den")


@spoil("I10", "a notice carries the secret of another room")
def leak_a_notice(told):
    line = {"client": "bob", "conn": 1, "room": "lobby"}
    told.tell("frame", type="notice", markers=["secret-den"], **line)


@spoil("I10", "the list of rooms carries a secret")
def leak_in_the_list(told):
    line = {"client": "bob", "conn": 1, "room": None}
    told.tell("frame", type="rooms", markers=["secret-den"], **line)


@spoil("I11", "somebody is said to be here who is not")
def show_a_ghost(told):
    rows(told)["here"].append("dora")


@spoil("I11", "somebody is here and not said to be")
def hide_somebody(told):
    rows(told)["here"].remove("bob")


@spoil("I11", "somebody whose line holds is said to have left")
def leave_falsely(told):
    seq = told.find("ok", key="a1")["seq"] + 1  # is b1
    rows(told)["events"][seq - 1][1:6] = ["leave", "alice", None, "lost", None]


@spoil(
    "I11", "a process that was declared dead keeps its sockets", sample_history.opening
)
def do_not_fence(told):
    told.tell("fault", number=1, name="N3")
    told.happen("lobby", "leave", "alice", cause="lost")
    told.tell("healed", number=1, name="N3")
    told.rest(20)
    told.end()


@spoil("I11", "somebody comes in twice")
def enter_twice(told):
    told.find("dump")["rooms"]["lobby"]["events"][2][1:4] = ["enter", "alice", None]


@spoil("I11", "somebody goes out who was not there")
def leave_twice(told):
    told.find("dump")["rooms"]["lobby"]["events"][2][1:4] = ["leave", "dora", None]


@spoil("I11", "nobody looked who is here")
def do_not_look_who(told):
    told.drop("present")


@spoil("I12", "memory grows")
def grow(told):
    told.sample(rss=300 * sample_history.MEGABYTE)
    told.sample()


@spoil("I12", "descriptors are not given back")
def keep_descriptors(told):
    told.sample(fds=90)


@spoil("I12", "threads do not end")
def keep_threads(told):
    told.sample(threads=30)


@spoil("I12", "sessions stay open")
def keep_sessions(told):
    told.sample(sessions=40)


@spoil("I13", "others wait when one Daphne dies", sample_history.opening)
def others_wait(told):
    slow_send(told, "N1", 1.5, clients=["bob"])


@spoil("I13", "acks wait for Redis", sample_history.opening)
def wait_for_redis(told):
    slow_send(told, "N11", 1.5)


def slow_send(told, name, seconds, **fields):
    told.rest(10)
    told.tell("fault", number=1, name=name, **fields)
    told.invoke("alice", "send", "slow", body="body of slow")
    told.send("alice", "slow")
    told.rest(seconds)
    told.answer("ok", "alice", "send", "slow", seq=told.store("alice", "slow"))
    told.tell("healed", number=1, name=name)
    told.end()


@spoil("I13", "nothing is acknowledged without Redis", sample_history.opening)
def acknowledge_nothing(told):
    hurt_in_silence(told, "N11", 3)


@spoil("I13", "nobody else is acknowledged when one dies", sample_history.opening)
def acknowledge_nobody_else(told):
    hurt_in_silence(told, "N1", 3, clients=["bob"])


@spoil("I13", "nothing is answered without PostgreSQL", sample_history.opening)
def answer_nothing(told):
    hurt_in_silence(told, "N5", 6)


def hurt_in_silence(told, name, seconds, **fields):
    told.rest(10)
    told.tell("fault", number=1, name=name, **fields)
    told.rest(seconds)
    told.tell("healed", number=1, name=name)
    told.say("alice", "after")
    told.end()


@spoil("I13", "deliveries wait for Redis")
def deliver_late(told):
    fault = told.find("fault", name="N11")
    for recv in (told.find("recv", nth, client="bob", conn=2) for nth in (0, 1)):
        recv["t"] = max(recv["t"], fault["t"] + 4 * NS)


@spoil("I13", "without PostgreSQL there is no answer in time", sample_history.opening)
def answer_late(told):
    slow_send(told, "N5", 4.5)


@spoil("I13", "with a full disk there is no answer in time", sample_history.opening)
def answer_late_on_a_full_disk(told):
    slow_send(told, "N21", 4.5)


@spoil("I13", "PostgreSQL is back, and nothing is acknowledged")
def come_back_late(told):
    told.find("ok", key="a3")["t"] += 6 * NS


@spoil("I13", "the clients of a killed Daphne stay away", sample_history.opening)
def stay_away_after_kill(told):
    come_back_after(told, "N1", 12)


@spoil(
    "I13",
    "the clients of a drained Daphne are slow to come back",
    sample_history.opening,
)
def stay_away_after_drain(told):
    come_back_after(told, "N2", 4)


def come_back_after(told, name, seconds):
    told.rest(10)
    told.tell("fault", number=1, name=name, clients=["bob"])
    told.close("bob")
    told.tell("healed", number=1, name=name)
    told.rest(seconds)
    told.dial("bob", "lobby", after=4)
    told.end()


@spoil("I14", "a process writes what nobody should have to read")
def write_a_traceback(told):
    told.tell("log", process="daphne-0", line="Traceback (most recent call last):")


@spoil("I15", "after a storm somebody stays away")
def stay_away_after_storm(told):
    back = told.find("welcome", client="carol", conn=2)["t"]
    for record in told.records:
        if record["t"] >= back:
            record["t"] += 70 * NS
    told.find("healed", number=4)["t"] -= 70 * NS


@spoil("I15", "a storm breaks no line", sample_history.opening)
def storm_in_a_teacup(told):
    hurt_in_silence(told, "N20", 1)


@spoil("I15", "PostgreSQL gets more sessions than the cap")
def open_too_many_sessions(told):
    told.sample(sessions=31)
    told.sample()

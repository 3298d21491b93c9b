"""The log: one line for each event, and nothing of what people wrote."""

import json
import logging
import sys

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from config.logging import UNPRINTABLE, JSONFormatter, OneLineFormatter
from tests.support.room_client import RoomClient, SocketClient, sign_in

FORMATTERS = [OneLineFormatter("{levelname} {name}: {message}", style="{")]
FORMATTERS += [JSONFormatter()]
each_format = pytest.mark.parametrize("formatter", FORMATTERS, ids=["line", "json"])


def record(message, *words, error=None):
    return logging.LogRecord("x", logging.ERROR, "", 0, message, words, error)


def line(message, *words, error=None):
    return FORMATTERS[0].format(record(message, *words, error=error))


def test_what_strangers_send_cannot_forge_a_line():
    forged = "a\r\nERROR x: b\x1b[31m\u202e\u2028\0é"
    assert line("%s", forged) == (r"ERROR x: a\r\nERROR x: b\x1b[31m\u202e\u2028\x00é")


@given(st.text() | st.from_regex(UNPRINTABLE))
def test_a_line_of_json_tells_what_was_told_and_is_one_line(text):
    told = JSONFormatter().format(record("%s", text))
    assert not UNPRINTABLE.search(told)
    assert json.loads(told)["message"] == text


def test_a_line_of_json_has_the_time_and_the_place():
    told = record("Broke %d times", 3)
    told.created = 1_700_000_000.5
    assert json.loads(JSONFormatter().format(told)) == {
        "time": "2023-11-14T22:13:20.500+00:00",
        "level": "ERROR",
        "logger": "x",
        "message": "Broke 3 times",
    }


@each_format
def test_an_error_is_told_in_one_line_with_its_place(formatter):
    try:
        int("x")
    except ValueError:
        told = formatter.format(record("Broke", error=sys.exc_info()))
    assert "Broke" in told
    assert "ValueError: invalid literal for int()" in told
    assert "test_logging.py" in told
    assert "\n" not in told


@pytest.fixture
def error_with_a_row(db):
    """An error of PostgreSQL, below whose first line is what somebody wrote."""
    User.objects.create(username="Secret")
    with pytest.raises(IntegrityError) as raised:
        User.objects.create(username="Secret")
    assert "ecret" in str(raised.value)
    return raised._excinfo


@each_format
@pytest.mark.parametrize("message", ["Broke", "Broke: %s", "Broke: %r", "%r, %r"])
def test_an_error_of_the_database_is_told_without_the_row(
    error_with_a_row, formatter, message
):
    words = [error_with_a_row[1]] * message.count("%")
    told = formatter.format(record(message, *words, error=error_with_a_row))
    assert "duplicate key value violates unique constraint" in told
    assert "test_logging.py" in told
    assert "ecret" not in told


# What led to an error -----------------------------------------------------------


def fail_over(first, second):
    try:
        raise first
    except Exception as error:
        raise second from error


def told_of(formatter, *chain, fail=fail_over):
    try:
        fail(*chain)
    except Exception:
        return formatter.format(record("Broke", error=sys.exc_info()))


@each_format
def test_the_chain_of_causes_is_told(formatter):
    told = told_of(formatter, ConnectionRefusedError("no Redis"), RuntimeError("sad"))
    assert "RuntimeError: sad <- " in told
    assert "; caused by ConnectionRefusedError: no Redis <- " in told
    assert told.count("fail_over") == 2
    assert "\n" not in told


def test_what_was_being_handled_is_told_unless_it_was_set_aside():
    def fail(first, second, aside=False):
        try:
            raise first
        except Exception:
            if aside:
                raise second from None
            raise second  # noqa: B904

    errors = OSError("disk full"), RuntimeError("sad")
    told = told_of(FORMATTERS[1], *errors, fail=fail)
    assert "; while handling OSError: disk full <- " in told
    assert "disk full" not in told_of(FORMATTERS[1], *errors, True, fail=fail)


@each_format
def test_a_cause_tells_nothing_of_what_people_wrote(formatter, error_with_a_row):
    words = ValueError("what Ann wrote")
    told = told_of(formatter, words, RuntimeError("sad"))
    assert "; caused by ValueError <- " in told and "Ann" not in told
    told = told_of(formatter, error_with_a_row[1], RuntimeError("sad"))
    assert "; caused by IntegrityError: duplicate key" in told
    assert "; caused by UniqueViolation: duplicate key" in told
    assert "ecret" not in told


@each_format
def test_a_chain_is_bounded_and_may_go_round(formatter):
    def recurse(depth):
        if depth:
            recurse(depth - 1)
        raise OSError("x" * 10_000)

    def fail(round_trip):
        error = RuntimeError("y" * 10_000)
        for _nth in range(100):
            try:
                try:
                    recurse(200)
                except OSError as cause:
                    raise RuntimeError("again") from (error if round_trip else cause)
            except RuntimeError as again:
                again.__context__, error = error, again
        if round_trip:
            error.__cause__ = error
        raise error

    for round_trip in (True, False):
        assert len(told_of(formatter, round_trip, fail=fail)) < 25_000


# A whole server -------------------------------------------------------------------

MARK = "wombat"


@sync_to_async
def refuse_the_mark(holds):
    """From now on, or no longer, PostgreSQL takes no message with MARK in it."""
    change = f"ADD CONSTRAINT no_mark CHECK (body NOT LIKE '%{MARK}%')"
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE messaging_message "
            + (change if holds else "DROP CONSTRAINT no_mark")
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["line", "json"])
async def test_what_people_write_is_in_no_line_of_the_log(serve, room, bob, form):
    server = serve(LOG_FORMAT=form)
    session = await sign_in(bob)
    await refuse_the_mark(True)
    try:
        async with RoomClient(server, room, session) as page:
            answer = await page.post(f"{MARK}\nERROR forged: {MARK}")
            assert answer["code"] == "try_later"
            await page.send(f"no frame {MARK}")
            await page.first("error", code="unreadable")
            await page.send(json.dumps({"type": "post", "key": "k" * 99, "body": MARK}))
            await page.first("error", code="bad_field")
            await page.say("fine")
        async with SocketClient(server, f"/ws/rooms/{MARK}/", session) as line:
            await line.closed()
    finally:
        await refuse_the_mark(False)
    await sync_to_async(server.stop)()
    assert MARK not in server.log
    [told] = [line for line in server.log.splitlines() if "IntegrityError" in line]
    assert "a request could not be written" in told
    assert "violates check constraint" in told
    if form == "json":
        assert json.loads(told).keys() == {
            "time",
            "level",
            "logger",
            "message",
            "exception",
        }

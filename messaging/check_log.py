"""Is the log what it claims to be? Questions to the database whose right answer is: no
rows. `manage.py check_log` asks them."""

from typing import NamedTuple

from django.db import connection


class Rule(NamedTuple):
    """What must hold; `sql` finds the rows where it does not (room, seq, what)."""

    name: str
    sql: str


RULES = [
    Rule(
        "numbers run 1…head without a hole",
        """
        SELECT slug, before + 1,
               'numbers ' || before + 1 || ' to ' || seq - 1 || ' missing'
        FROM (
            SELECT room_id, seq,
                   lag(seq, 1, 0::bigint)
                       OVER (PARTITION BY room_id ORDER BY seq) AS before
            FROM rooms_event
        ) AS numbered
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE seq <> before + 1
        """,
    ),
    Rule(
        "the counter is the highest number",
        """
        SELECT slug, coalesce(head.seq, 0),
               'the counter says ' || coalesce(head.seq::text, 'nothing')
               || ', the log ends at ' || coalesce(top.seq, 0)
        FROM rooms_room
        LEFT JOIN rooms_head AS head ON head.room_id = rooms_room.id
        LEFT JOIN (
            SELECT room_id, max(seq) AS seq FROM rooms_event GROUP BY room_id
        ) AS top
            ON top.room_id = rooms_room.id
        WHERE head.seq IS DISTINCT FROM coalesce(top.seq, 0)
        """,
    ),
    Rule(
        "later numbers are not earlier in time",
        """
        SELECT slug, seq, 'is earlier than the number before it'
        FROM (
            SELECT room_id, seq, at,
                   lag(at) OVER (PARTITION BY room_id ORDER BY seq) AS before
            FROM rooms_event
        ) AS timed
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE at < before
        """,
    ),
    Rule(
        "every message event has one message, and no other event has one",
        """
        SELECT slug, seq, CASE WHEN kind = 'message' THEN 'has no message'
                               ELSE 'is no message but has one' END
        FROM rooms_event
        LEFT JOIN messaging_message ON event_id = rooms_event.id
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE (kind = 'message') <> (event_id IS NOT NULL)
        """,
    ),
    Rule(
        "every reason and every topic has its text, and no other event has one",
        """
        SELECT slug, seq, CASE WHEN event_id IS NULL
                               THEN 'has no text; `manage.py prepare` moves it there'
                               ELSE 'can have no text but has one' END
        FROM rooms_event
        LEFT JOIN rooms_eventtext ON event_id = rooms_event.id
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE (kind IN ('kick', 'topic', 'clear')) <> (event_id IS NOT NULL)
        """,
    ),
    Rule(
        "what was said was said by the event's actor",
        """
        SELECT slug, seq, 'actor and author differ'
        FROM messaging_message
        JOIN rooms_event ON rooms_event.id = event_id
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE author_id IS DISTINCT FROM actor_id
        """,
    ),
    Rule(
        "an author uses a key once",
        """
        SELECT slug, seq, 'the key ' || key || ' was used ' || uses || ' times'
        FROM (
            SELECT event_id, key, count(*) OVER (PARTITION BY author_id, key) AS uses
            FROM messaging_message
        ) AS keyed
        JOIN rooms_event ON rooms_event.id = event_id
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE uses > 1
        """,
    ),
    Rule(
        "people enter and leave by turns",
        """
        SELECT slug, seq, kind || ' after ' || before
        FROM (
            SELECT room_id, seq, kind, lag(kind, 1, 'leave') OVER (
                       PARTITION BY room_id, actor_id ORDER BY seq) AS before
            FROM rooms_event WHERE kind IN ('enter', 'leave')
        ) AS turns
        JOIN rooms_room ON rooms_room.id = room_id
        WHERE kind = before
        """,
    ),
    Rule(
        "who has entered and not left has a visit that is not settled",
        """
        SELECT rooms_room.slug, coalesce(inside.seq, 0), username || CASE
                   WHEN inside.actor_id IS NULL THEN ' has a visit but did not enter'
                   ELSE ' entered but has no visit' END
        FROM (
            SELECT DISTINCT ON (room_id, actor_id) room_id, actor_id, seq, kind
            FROM rooms_event WHERE kind IN ('enter', 'leave')
            ORDER BY room_id, actor_id, seq DESC
        ) AS last_turn
        JOIN LATERAL (
            SELECT last_turn.* WHERE last_turn.kind = 'enter'
        ) AS inside ON true
        FULL JOIN (
            SELECT DISTINCT room_id, user_id FROM rooms_visit WHERE NOT settled
        ) AS visit ON visit.room_id = inside.room_id AND visit.user_id = inside.actor_id
        JOIN rooms_room ON rooms_room.id = coalesce(inside.room_id, visit.room_id)
        JOIN accounts_user
            ON accounts_user.id = coalesce(inside.actor_id, visit.user_id)
        WHERE inside.actor_id IS NULL OR visit.user_id IS NULL
        """,
    ),
    Rule(
        "the head-count is the number of people who are here",
        """
        SELECT slug, head.seq, 'says ' || head.here || ' here, it is ' || coalesce(n, 0)
        FROM rooms_head AS head
        JOIN rooms_room ON rooms_room.id = head.room_id
        LEFT JOIN (
            SELECT room_id, count(DISTINCT user_id) AS n
            FROM rooms_visit WHERE NOT settled GROUP BY room_id
        ) AS visits ON visits.room_id = head.room_id
        WHERE head.here <> coalesce(n, 0)
        """,
    ),
]


# A purge that broke off has removed a part of these, and the next removes the rest.
BEING_PURGED = """
    SELECT slug FROM rooms_room LEFT JOIN rooms_head AS head ON head.room_id = id
    WHERE deleted_at IS NOT NULL AND head.room_id IS NULL
"""


class Fault(NamedTuple):
    room: str
    seq: int
    what: str


def faults(rule, limit):
    """The first `limit` faults against a Rule, in order of room and number."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM ({rule.sql}) AS fault (room, seq, what)"  # noqa: S608  ours
            f" WHERE room NOT IN ({BEING_PURGED}) ORDER BY 1, 2 LIMIT %s",
            [limit],
        )
        return [Fault(*row) for row in cursor]


def size():
    """How many rooms and events there are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), coalesce(sum(seq), 0)::bigint FROM rooms_head")
        return cursor.fetchone()

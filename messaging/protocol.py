"""The wire format: what docs/PROTOCOL.md says, in Python.

`read` turns a text frame into a request, or raises BadFrame; the other functions make
the frames to the browser. Nothing else in the server knows how frames look.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

import orjson
from django.utils.translation import gettext as _

from messaging.models import MAX_BODY, MAX_KEY
from rooms.models import Event
from rooms.models.log import TEXTS, timestamp
from rooms.numbers import read_number

MAX_FRAME_IN = 64 * 1024
MAX_FRAME_OUT = 256 * 1024
MAX_HERE = 200  # people named in a welcome
MAX_SHOWN = 100  # rooms whose counts a page can have kept up to date
MAX_SLUG = 255
KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")

TO_BROWSER = {"welcome", "events", "reset", "ack", "error", "notice", "rooms"}
ERRORS = {
    "unreadable",
    "too_big",
    "unknown_type",
    "bad_field",
    "empty",
    "too_long",
    "not_allowed",
    "archived",
    "removed",
    "too_many_rooms",
    "key_reused",
    "slow_down",
    "busy",
    "try_later",
}


class Close(IntEnum):
    """Why the server closes a socket."""

    RESTART = 1012
    SIGNED_OUT = 4401
    NOT_ALLOWED = 4403
    NO_SUCH_ROOM = 4404
    TOO_SLOW = 4408
    TOO_MANY = 4409
    FLOODING = 4429


RETURN_WITHIN = 2.0  # seconds, at random: who is sent away does not come back at once


class BadFrame(Exception):
    """A frame that cannot be taken; `key` is that of the post, if it could be read."""

    def __init__(self, code, detail, key=None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.key = key


# From the browser --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Post:
    key: str
    body: str


@dataclass(frozen=True, slots=True)
class Show:
    """The page shows these rooms (slugs; whether there are such is not known yet)."""

    rooms: frozenset[str]
    key: None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has seen: everything up to `seq` in the epoch `epoch`."""

    epoch: str
    seq: int


def read(text):
    """The request in a text frame (None: it was a binary one); BadFrame otherwise."""
    if text is None:
        raise BadFrame("unreadable", _("Only text frames are accepted."))
    if len(text) > MAX_FRAME_IN or len(text.encode()) > MAX_FRAME_IN:
        raise BadFrame("too_big", _("A frame can have at most 64 KiB."))
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise BadFrame("unreadable", _("The frame is not JSON.")) from None
    if not isinstance(frame, dict):
        raise BadFrame("unreadable", _("The frame is not a JSON object."))
    reader = READERS.get(_string(frame.pop("type", None)))
    if reader is None:
        raise BadFrame("unknown_type", _("Unknown frame type."))
    return reader(frame)


def read_cursor(query):
    """The cursor in a query ({name: value}), None if there is none; BadFrame if bad."""
    if "after" not in query:
        return None
    return Cursor(query.get("epoch", ""), read_seq(query["after"], "after"))


def read_seq(text, field):
    """A number of a log in decimal digits; BadFrame otherwise."""
    number = read_number(text)
    if number is None:
        detail = _("“%(field)s” is not a number.")
        raise BadFrame("bad_field", detail % {"field": field})
    return number


def _post(frame):
    key = _string(frame.pop("key", None))
    if key is None or not KEY.fullmatch(key):
        detail = _("“key” must be 1 to %(max)s printable ASCII characters.")
        raise BadFrame("bad_field", detail % {"max": MAX_KEY})
    body = _string(frame.pop("body", None))
    if body is None or "\x00" in body:
        raise BadFrame("bad_field", _("“body” must be text."), key)
    _refuse_more(frame, key)
    if not body.strip():
        raise BadFrame("empty", _("The message is empty."), key)
    if len(body) > MAX_BODY:
        detail = _("A message can have at most %(max)s characters.") % {"max": MAX_BODY}
        raise BadFrame("too_long", detail, key)
    return Post(key, body)


def _show(frame):
    rooms = frame.pop("rooms", None)
    if not isinstance(rooms, list) or not all(map(_is_slug, rooms)):
        raise BadFrame("bad_field", _("“rooms” must be a list of names."))
    if len(rooms) > MAX_SHOWN:
        detail = _("“rooms” can name at most %(max)s rooms.") % {"max": MAX_SHOWN}
        raise BadFrame("bad_field", detail)
    _refuse_more(frame)
    return Show(frozenset(rooms))


def _is_slug(value):
    return isinstance(value, str) and len(value) <= MAX_SLUG and "\x00" not in value


def _refuse_more(fields, key=None):
    """BadFrame if fields are left that the frame does not have."""
    if fields:
        names = ", ".join(sorted(fields))[:100]
        detail = _("Unknown field: %(names)s.") % {"names": names}
        raise BadFrame("bad_field", detail, key)


def _string(value):
    return value if isinstance(value, str) else None


READERS = {"post": _post, "show": _show}


# To the browser ----------------------------------------------------------------------


def encode(frame):
    """A frame, or an event, as JSON (bytes)."""
    return orjson.dumps(frame)


def events(encoded):
    """One frame for many events that are encoded already."""
    return b'{"type":"events","events":[' + b",".join(encoded) + b"]}"


def frames_of(encoded):
    """The fewest `events` frames that carry these events below the size limit."""
    batch: list[bytes] = []
    size = 0
    for event in encoded:
        if batch and size + len(event) > MAX_FRAME_OUT - 1024:
            yield events(batch)
            batch, size = [], 0
        batch.append(event)
        size += len(event) + 1
    if batch:
        yield events(batch)


def ack(key, seq):
    return encode({"type": "ack", "key": key, "seq": seq})


def notice(text, key=None):
    return encode({"type": "notice", **_keyed(key), "text": text})


def error(code, detail, key=None):
    return encode({"type": "error", **_keyed(key), "code": code, "detail": str(detail)})


def farewell(code, detail):
    """Why the socket closes: the frame before the close, which cannot say it."""
    within = {"within": RETURN_WITHIN} if code == Close.RESTART else {}
    return encode(
        {"type": "error", "code": str(int(code)), "detail": str(detail), **within}
    )


def reset(reason, head):
    return encode({"type": "reset", "reason": reason, "head": head})


def present_counts(counts):
    """How many people are in which room now: {slug: count}."""
    return encode({"type": "rooms", "here": counts})


def _keyed(key):
    return {} if key is None else {"key": key}


def person(user):
    return _person(user.pk, user.username)


def _person(pk, name):
    return {"id": pk, "name": name}


class EventFields(NamedTuple):
    """An event with all that it shows. Flat: to make four models of each took most of
    the time of reading a page."""

    seq: int
    kind: str
    at: datetime
    about: int | None
    data: dict
    actor_id: int | None
    actor: str | None  # the name
    target_id: int | None
    target: str | None
    text: str | None  # what was written with an event that is no message
    key: str | None = None
    body: str | None = None
    html: str | None = None

    @classmethod
    def of(cls, event):
        """That of an event which holds its actor, target, and message or text."""
        said = event.message if event.kind == Event.Kind.MESSAGE else None
        return cls(
            *(event.seq, event.kind, event.at, event.about, event.data),
            *(event.actor_id, event.actor and event.actor.username),
            *(event.target_id, event.target and event.target.username),
            event.written if event.kind in TEXTS else None,
            *((said.key, said.body, said.html) if said else ()),
        )


# Where an event's row, and those it points to, hold the fields of its EventFields.
EVENT_COLUMNS = (
    *("seq", "kind", "at", "about", "data"),
    *("actor_id", "actor__username", "target_id", "target__username"),
    *("text__body", "message__key", "message__body", "message__html"),
)


def event(fields):
    """EventFields as they travel, as a dict."""
    return {
        "seq": fields.seq,
        "kind": fields.kind,
        "at": timestamp(fields.at),
        **_named("user", fields.actor_id, fields.actor),
        **_named("target", fields.target_id, fields.target),
        **({"about": fields.about} if fields.about is not None else {}),
        **{name: fields.data[name] for name in FIELDS.get(fields.kind, ())},
        **({TEXTS[fields.kind]: _text(fields)} if fields.kind in TEXTS else {}),
        **(_message(fields) if fields.kind == Event.Kind.MESSAGE else {}),
    }


# What of an event's data everybody may see.
FIELDS = {
    Event.Kind.ENTER: ("role",),
    Event.Kind.LEAVE: ("cause", "seen"),
    Event.Kind.ROLE: ("role",),
    Event.Kind.ARCHIVE: ("archived",),
    Event.Kind.RESTORE: ("floor",),
}


def _named(field, pk, name):
    return {field: _person(pk, name)} if pk else {}


def _text(fields):
    """Of an event whose text was not moved beside it yet, what stands in its data."""
    return fields.data[TEXTS[fields.kind]] if fields.text is None else fields.text


def _message(fields):
    me = {"me": True} if fields.data.get("me") else {}
    return {"key": fields.key, "html": fields.html, "body": fields.body, **me}

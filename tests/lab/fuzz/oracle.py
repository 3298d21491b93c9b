"""What docs/PROTOCOL.md promises for a frame, whatever is in it. Written without the
server's code, so that a slip there is no slip here."""

import re
from dataclasses import dataclass

import orjson

KIB = 1024
MAX_FRAME, MAX_BODY = 64 * KIB, 8_000
MAX_SHOWN, MAX_SLUG = 100, 255
READABLE_KEY = re.compile("[!-~]{1,64}")
# Codes of closes a page may see; 1011 is none of them.
CLOSES = {1000, 1001, 1002, 1006, 1007, 1009, 1012, 4401, 4403, 4404, 4408, 4429}
OF_A_COMMAND = {"ack", "notice", "not_allowed", "bad_field", "too_long", "archived"}
OF_SPEECH = {"ack", "not_allowed", "archived", "key_reused"}
OVERLOADED = {"busy", "try_later", "slow_down"}


@dataclass(frozen=True, slots=True)
class Promise:
    """What may come of a frame: an answer with its key (None: without one) that is one
    of these, an `ack`, a `notice` or an error code; and the text that is stored if it
    is an ack (None: nothing may be). Without `answers` there is no answer."""

    key: str | None
    answers: set[str]
    stored: str | None = None


def promise(payload, is_text=True):
    """The Promise for a frame of valid UTF-8 (bytes)."""
    if not is_text:
        return Promise(None, {"unreadable"})
    if len(payload) > MAX_FRAME:
        return Promise(None, {"too_big"})
    try:
        frame = orjson.loads(payload)
    except ValueError:
        return Promise(None, {"unreadable"})
    if not isinstance(frame, dict):
        return Promise(None, {"unreadable"})
    if frame.get("type") == "show":
        return Promise(None, set() if _can_be_shown(frame) else {"bad_field"})
    if frame.get("type") != "post":
        return Promise(None, {"unknown_type"})
    key = frame.get("key")
    if not isinstance(key, str) or not READABLE_KEY.fullmatch(key):
        return Promise(None, {"bad_field"})
    return _of_post(key, frame)


def _can_be_shown(frame):
    rooms = frame.get("rooms")
    if frame.keys() != {"type", "rooms"} or not isinstance(rooms, list):
        return False
    return len(rooms) <= MAX_SHOWN and all(
        isinstance(slug, str) and len(slug) <= MAX_SLUG and "\0" not in slug
        for slug in rooms
    )


def _of_post(key, frame):
    body = frame.get("body")
    if frame.keys() != {"type", "key", "body"} or not isinstance(body, str):
        return Promise(key, {"bad_field"})
    if "\0" in body:
        return Promise(key, {"bad_field"})
    if not body.strip():
        return Promise(key, {"empty"})
    if len(body) > MAX_BODY:
        return Promise(key, {"too_long"})
    if not body.startswith("/"):
        return Promise(key, OF_SPEECH, body)
    if body.startswith("//"):
        return Promise(key, OF_SPEECH, body[1:])
    return _of_command(key, body)


def _of_command(key, body):
    name, _space, rest = body[1:].partition(" ")
    if name.strip().lower() == "me" and rest.strip():
        return Promise(key, OF_SPEECH, rest.strip())
    return Promise(key, OF_A_COMMAND)

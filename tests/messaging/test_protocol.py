"""The wire format, by its own rules and by its page in the docs."""

import json
import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import protocol, views
from messaging.protocol import MAX_SHOWN, BadFrame, Close, Post, Show
from rooms import directory

PAGE = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
RAISES = re.compile(r'(?:Refused|BadFrame|protocol\.error)\(\s*"(\w+)"')
KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"


def post(**fields):
    return orjson.dumps({"type": "post", "key": KEY, "body": "hi", **fields}).decode()


def show(rooms, **fields):
    return orjson.dumps({"type": "show", "rooms": rooms, **fields}).decode()


def code_of(text):
    with pytest.raises(BadFrame) as bad:
        protocol.read(text)
    assert bad.value.detail
    return bad.value.code


def test_a_post_is_read():
    assert protocol.read(post(body="hi *there* 🎉")) == Post(KEY, "hi *there* 🎉")


BAD = {
    "binary": (None, "unreadable"),
    "empty": ("", "unreadable"),
    "not JSON": ("hello", "unreadable"),
    "cut off": ('{"type":"post"', "unreadable"),
    "trailing data": (post() + "{}", "unreadable"),
    "byte order mark": ("\ufeff" + post(), "unreadable"),
    "single quotes": ("{'type':'post'}", "unreadable"),
    "an array": ("[]", "unreadable"),
    "a number": ("1", "unreadable"),
    "a string": ('"post"', "unreadable"),
    "null": ("null", "unreadable"),
    "NaN": ('{"type":NaN}', "unreadable"),
    "Infinity": ('{"type":Infinity}', "unreadable"),
    "a number too large": ('{"type":1e999}', "unreadable"),
    "deep nesting": ("[" * 30_000 + "]" * 30_000, "unreadable"),
    "a lone surrogate": (r'{"type":"post","key":"k","body":"\ud800"}', "unreadable"),
    "one byte too many": ('{"type":"' + "x" * (64 * 1024 - 10) + '"}', "too_big"),
    "too many bytes in few letters": ("🎉" * 20_000, "too_big"),
    "no type": ('{"key":"k","body":"x"}', "unknown_type"),
    "an unknown type": ('{"type":"shout"}', "unknown_type"),
    "a private method": ('{"type":"_post"}', "unknown_type"),
    "a dunder": ('{"type":"__class__"}', "unknown_type"),
    "a prototype": ('{"type":"__proto__"}', "unknown_type"),
    "a handler's name": ('{"type":"websocket.disconnect"}', "unknown_type"),
    "type is a number": ('{"type":1}', "unknown_type"),
    "type is a list": ('{"type":["post"]}', "unknown_type"),
    "no key": ('{"type":"post","body":"x"}', "bad_field"),
    "key empty": (post(key=""), "bad_field"),
    "key too long": (post(key="k" * 65), "bad_field"),
    "key with a space": (post(key="a b"), "bad_field"),
    "key with a newline": (post(key="ab\n"), "bad_field"),
    "key not ASCII": (post(key="ключ"), "bad_field"),
    "key a number": (post(key=7), "bad_field"),
    "key null": (post(key=None), "bad_field"),
    "no body": ('{"type":"post","key":"k"}', "bad_field"),
    "body a number": (post(body=7), "bad_field"),
    "body true": (post(body=True), "bad_field"),
    "body an object": (post(body={}), "bad_field"),
    "a NUL": (post(body="a\x00b"), "bad_field"),
    "an unknown field": (post(room=1), "bad_field"),
    "constructor": (post(constructor="x"), "bad_field"),
    "nothing said": (post(body=""), "empty"),
    "only white space": (post(body=" \n\t\u2003"), "empty"),
    "one letter too many": (post(body="x" * 8_001), "too_long"),
    "no rooms": ('{"type":"show"}', "bad_field"),
    "rooms null": (show(None), "bad_field"),
    "rooms text": (show("lobby"), "bad_field"),
    "rooms an object": (show({"lobby": 1}), "bad_field"),
    "a room that is a number": (show(["lobby", 1]), "bad_field"),
    "a room that is a list": (show([["lobby"]]), "bad_field"),
    "a room with a NUL": (show(["a\x00b"]), "bad_field"),
    "a room with a long name": (show(["x" * 256]), "bad_field"),
    "one room too many": (show(["lobby"] * 101), "bad_field"),
    "a show with a key": (show(["lobby"], key=KEY), "bad_field"),
}


@pytest.mark.parametrize(("text", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_a_typed_error(text, code):
    assert code_of(text) == code


def test_a_show_is_read():
    assert protocol.read(show(["a", "b", "a"])).rooms == {"a", "b"}
    assert protocol.read(show([])).rooms == set()


def test_the_counts_of_a_whole_page_can_be_asked_for():
    assert views.OWN_ROOMS <= MAX_SHOWN
    assert directory.LIVELY + directory.PAGE <= MAX_SHOWN


def test_the_longest_message_is_taken_whatever_its_letters():
    assert protocol.read(post(body="🎉" * 8_000)).body == "🎉" * 8_000


def test_a_bad_post_with_a_key_is_answered_under_it():
    with pytest.raises(BadFrame) as bad:
        protocol.read(post(body=""))
    assert bad.value.key == KEY


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(json.dumps)


@given(st.text() | JSON)
def test_any_text_is_read_or_refused(text):
    try:
        assert isinstance(protocol.read(text), Post | Show)
    except BadFrame as bad:
        assert bad.code in protocol.ERRORS


@pytest.mark.parametrize(
    "text", ["", "-1", "1.0", "1e3", "٣", " 1", "0x1", "9" * 19, "9" * 400, "true"]
)
def test_a_bad_number_is_refused(text):
    with pytest.raises(BadFrame):
        protocol.read_seq(text, "after")


@given(st.lists(st.binary(min_size=1, max_size=90_000).map(lambda b: b.hex().encode())))
def test_frames_carry_all_events_in_order_below_the_limit(encoded):
    encoded = [b'"%s"' % one for one in encoded]
    frames = list(protocol.frames_of(encoded))
    events = [event for frame in frames for event in orjson.loads(frame)["events"]]
    assert events == [orjson.loads(one) for one in encoded]
    assert all(len(frame) <= protocol.MAX_FRAME_OUT for frame in frames)


# The page in the docs ----------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(protocol.READERS))
def test_every_frame_to_the_server_is_documented(kind):
    assert f'`{{"type":"{kind}"' in PAGE


@pytest.mark.parametrize("kind", sorted(protocol.TO_BROWSER))
def test_every_frame_to_the_browser_is_documented(kind):
    assert f'`{{"type":"{kind}"' in PAGE


@pytest.mark.parametrize("code", sorted(protocol.ERRORS))
def test_every_error_code_is_documented(code):
    assert f"| `{code}` |" in PAGE


@pytest.mark.parametrize("code", Close)
def test_every_close_code_is_documented(code):
    assert f"| {int(code)} |" in PAGE


@pytest.mark.parametrize("kind", protocol.Event.Kind.values)
def test_every_kind_of_event_is_documented(kind):
    assert f"| `{kind}` |" in PAGE


@pytest.mark.parametrize("source", ["messaging", "rooms"])
def test_no_error_code_is_used_that_is_not_listed(source):
    """Every code that is raised is a listed one, so the tests above see them all."""
    root = Path(__file__).parents[2] / source
    raised = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        raised |= set(
            re.findall(r'(?:Refused|BadFrame|protocol\.error)\(\s*"(\w+)"', text)
        )
    assert raised
    assert raised <= protocol.ERRORS | {"signed_out", "no_such_room"}

"""A slice of `make fuzz`, and that the fuzzer sees."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from pygments.lexers import get_lexer_by_name

from messaging.rendering import markdown
from tests.conftest import database_url
from tests.lab.buggy_server import FAULTS, BuggyServer
from tests.lab.fuzz import climb as climbs
from tests.lab.fuzz.__main__ import TOO_SLOW
from tests.lab.fuzz.climb import Climb
from tests.lab.fuzz.grammar import Grammar
from tests.lab.fuzz.hunt import ENVIRONMENT, Finding, Hunt, muster
from tests.lab.fuzz.oracle import promise
from tests.lab.fuzz.shrink import Shrinker
from tests.support.instrumented_server import InstrumentedServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hunted(tmp_path):
    """hunted(kind, …): a ready server of that kind on the test database."""
    servers = []

    def start(kind, *words):
        own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
        servers.append(kind(tmp_path, *words, **own, **ENVIRONMENT))
        return servers[-1].start()

    yield start
    for server in servers:
        if isinstance(server, BuggyServer):
            server.kill()  # it may not hear
        elif server.is_running:
            server.stop()


async def test_odd_frames_cost_nobody_anything(hunted):
    crew = await sync_to_async(muster)()
    hunt = Hunt(hunted(InstrumentedServer), crew, frames=20_000, seed="in CI")
    await hunt.run()
    # It could have failed: all sorts of answers came, and all sorts of ends.
    assert {"ack", "notice", "unreadable", "too_big", "unknown_type"} <= {*hunt.answers}
    assert {"bad_field", "empty", "too_long", "key_reused"} <= {*hunt.answers}
    assert hunt.sent > 19_000
    assert hunt.scripts > 150
    assert {1000, 1006} <= {*hunt.closes}


SIGNS = {
    "raises_on_a_list_as_type": "TypeError|1011",
    "forgets_to_answer": "no answer|should end so: lives",
    "loses_the_key": "not an answer",
    "answers_twice": "not an answer",
    "stores_what_it_refuses": "stored, but never said so",
    "stores_another_text": "stored, but never said so",
    # A transaction that the stop breaks in two is ended by PostgreSQL.
    "stops_the_loop": "no ack for another|no answer|another was answered .*try_later",
    "keeps_sockets": "left over",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_seeded_fault_is_found(hunted, fault, monkeypatch):
    monkeypatch.setattr("tests.lab.fuzz.hunt.PATIENCE", 5)
    # On a busy machine a slow ack for another would be found first.
    monkeypatch.setattr("tests.lab.fuzz.hunt.CANARY_PATIENCE", 10)
    crew = await sync_to_async(muster)()
    hunt = Hunt(hunted(BuggyServer, fault), crew, frames=6_000, seed="seeded")
    with pytest.raises(Finding, match=SIGNS[fault]):
        await hunt.run()


async def test_a_finding_is_told_by_its_smallest_frame(hunted):
    crew = await sync_to_async(muster)()
    hunt = Hunt(hunted(BuggyServer, "loses_the_key"), crew, frames=0, seed="small")
    frames = [
        b'{"type":"post","key":"a","body":"b"}',
        b'{"type":"post","key":"key","body":"some words","__proto__":[1,2,3]}',
    ]
    payload, _is_text, what = await Shrinker(hunt).smallest(
        (frame, True) for frame in frames
    )
    assert payload.startswith(b'{"type":"post","key":"')
    assert len(payload) < len(frames[1]) / 2
    assert "bad_field" in what


def test_a_slice_of_a_climb_finds_nothing_too_slow():
    climb = Climb("in CI")
    slowest = climb.run(20)
    assert climb.tried > 20
    assert slowest[0].seconds < 4 * TOO_SLOW  # not what it is, but not without end


@pytest.mark.parametrize("language", ["mcschema", "easytrieve"])
def test_a_climb_finds_a_language_that_takes_too_long(language, monkeypatch):
    lexer = get_lexer_by_name(language)
    monkeypatch.setattr(markdown, "weight_of", bool)
    monkeypatch.setattr(markdown, "lexer_of", lambda name: lexer)
    monkeypatch.setattr(climbs, "ENDLESS", 1.2 * TOO_SLOW)
    climb = Climb("seeded")
    for _nth in range(20):
        if climb.record(language) < TOO_SLOW:
            climb.climb(language)
    assert climb.record(language) >= TOO_SLOW


def test_a_climb_puts_together_what_is_slow_only_together(monkeypatch):
    """A time that can be counted: each further piece makes a text ten times as slow."""

    def time_to_render(body):
        return 10 ** -sum(piece not in body for piece in ("<<<", "@a", "0x", "{{"))

    monkeypatch.setattr(climbs, "time_to_render", time_to_render)
    climb = Climb("seeded")
    while climb.record("python") < 1 and climb.tried < 20_000:
        climb.climb("python")
    assert climb.record("python") == 1


def test_a_seed_is_a_run():
    def frames(seed):
        grammar = Grammar(random.Random(seed), "f0")
        return [grammar.frame() for _nth in range(300)]

    assert frames("one") == frames("one")
    assert frames("one") != frames("two")


@pytest.mark.parametrize(
    ("payload", "key", "answers"),
    [
        (b'{"type":"post","key":"k","body":"hi"}', "k", {"ack"}),
        (b'{"type":"post","key":"k","body":"hi","key":"l"}', "l", {"ack"}),
        (b'{"type":"post","key":"k","body":7}', "k", {"bad_field"}),
        (b'{"type":"post","key":"k k","body":"hi"}', None, {"bad_field"}),
        (b'{"type":["post"],"key":"k"}', None, {"unknown_type"}),
        (b'{"type":"post","key":"k","body":"\\ud800"}', None, {"unreadable"}),
        (b" " * 70_000, None, {"too_big"}),
        (b'{"type":"show","rooms":["lobby"]}', None, set()),
        (b'{"type":"show","rooms":["lobby"],"key":"k"}', None, {"bad_field"}),
        (b'{"type":"show","rooms":{"lobby":1}}', None, {"bad_field"}),
    ],
)
def test_what_is_promised(payload, key, answers):
    due = promise(payload)
    assert due.key == key
    assert answers <= due.answers
    assert bool(answers) == bool(due.answers)


async def test_a_canary_that_is_told_to_stop_as_it_hears_an_answer_stops():
    """Or it sings on for ever, and a Finding is never told."""
    heard = asyncio.Queue()
    hunt = Hunt(SimpleNamespace(log=""), crew=None, frames=0, seed="canary")
    listening = asyncio.create_task(hunt._hear_canary(heard))
    await asyncio.sleep(0)
    heard.put_nowait(b'{"type":"ack"}')
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening

"""Over real sockets, to real servers, with a real Redis between them."""

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models.functions import Now
from websockets.exceptions import ConnectionClosed, InvalidStatus

from accounts.models import Session
from messaging import history
from rooms.models import Installation, Node, Room, Visit
from tests.conftest import database_url
from tests.support.monitoring import Metrics
from tests.support.room_client import RoomClient, SocketClient, faults, sign_in
from tests.support.servers import PlainDaphne

pytestmark = pytest.mark.django_db(transaction=True)


@sync_to_async
def bodies(room):
    said = room.events.filter(kind="message").order_by("seq")
    return [fields.body for fields in history.fields_of(said)]


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(params=["our server", "plain Daphne"])
def either(request, serve, tmp_path):
    """A server with the extension that writes ready frames, or one without it."""
    if request.param == "our server":
        yield serve()
        return
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    plain = PlainDaphne(tmp_path, **own).start()
    yield plain
    plain.stop()


# One process ----------------------------------------------------------------------


async def test_two_people_talk(either, room, alice, bob):
    async with (
        RoomClient(either, room, await sign_in(alice)) as one,
        RoomClient(either, room, await sign_in(bob)) as two,
    ):
        assert one.welcome["you"]["role"] == "owner"
        assert one.welcome["room"]["topic"] == "Anything"
        seq = await one.say("hello *bob*")
        for page in (one, two):
            event = await page.event("message", seq=seq)
            assert event["html"] == "<p>hello <em>bob</em></p>"
            assert event["user"] == {"id": alice.pk, "name": "alice"}
        seq = await two.say("hello alice")
        await one.seen(seq)
        assert [person["name"] for person in two.welcome["here"]] == ["alice", "bob"]
    assert await faults() == []


async def test_coming_and_going_is_told_with_its_cause(server, room, alice, bob):
    async with RoomClient(server, room, await sign_in(alice)) as one:
        session = await sign_in(bob)
        async with RoomClient(server, room, session) as two:
            assert (await one.event("enter", role="member"))["user"]["name"] == "bob"
            # A second tab is no second coming.
            async with RoomClient(server, room, session):
                pass
            await two.say("hi")
            enters = [event for event in one.events if event["kind"] == "enter"]
            assert [event["user"]["name"] for event in enters] == ["bob"]
        left = await one.until(
            lambda: [event for event in one.events if event["kind"] == "leave"],
            seconds=20,
        )
        assert (left[0]["user"]["name"], left[0]["cause"]) == ("bob", "closed")
    assert await faults() == []


async def test_a_reload_makes_no_noise(server, room, alice, bob):
    async with RoomClient(server, room, await sign_in(alice)) as one:
        session = await sign_in(bob)
        for _nth in range(3):
            async with RoomClient(server, room, session) as two:
                await two.say("here I am")
        await asyncio.sleep(4)
        kinds = [event["kind"] for event in one.events]
        assert kinds.count("enter") == 1
        assert kinds.count("leave") == 0


async def test_a_lost_line_comes_back_from_its_cursor(either, room, alice, bob):
    async with RoomClient(either, room, await sign_in(alice)) as one:
        session = await sign_in(bob)
        async with RoomClient(either, room, session) as two:
            await two.seen(await one.say("before"))
            cursor = two.cursor
            two.drop()
            await two.closed()
        last = [await one.say(f"while away {nth}") for nth in range(5)][-1]
        async with RoomClient(either, room, session, cursor) as two:
            await two.seen(last)
            said = [event["body"] for event in two.events if "body" in event]
            assert said == [f"while away {nth}" for nth in range(5)]
            assert two.seqs[0] == cursor[1] + 1


async def test_the_same_key_is_one_message(server, room, alice, bob):
    session = await sign_in(bob)
    async with (
        RoomClient(server, room, session) as one,
        RoomClient(server, room, session) as two,
    ):
        posts = [page.post("hi", "the-key") for page in (one, two) * 5]
        answers = await asyncio.gather(*posts)
        assert len({answer["seq"] for answer in answers}) == 1
        answer = await RoomClient.post(one, "something else", "the-key")
        errors = await one.first("error", key="the-key")
        assert errors["code"] == "key_reused"
    assert await bodies(room) == ["hi"]
    assert answer


async def test_commands(server, room, alice, bob):
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as two,
    ):
        assert "/kick" in (await two.post("/help"))["text"]
        assert "/dance" in (await two.post("/dance wildly"))["text"]
        assert (await two.post("/topic mine"))["code"] == "not_allowed"
        assert (await two.post("/clear"))["code"] == "not_allowed"
        assert (await two.post("/kick alice"))["code"] == "not_allowed"
        assert (await one.post("/kick nobody-here"))["code"] == "bad_field"
        assert (await one.post("/kick"))["type"] == "notice"
        assert (await one.post("/topic Tea and cake"))["type"] == "ack"
        assert (await two.event("topic"))["topic"] == "Tea and cake"
        await two.say("/me waves")
        assert (await one.event("message", me=True))["body"] == "waves"
        await two.say("//etc/hosts")
        assert await one.event("message", body="/etc/hosts")
        cleared = await one.post("/clear too much")
        clear = await two.event("clear")
        assert (clear["seq"], clear["reason"]) == (cleared["seq"], "too much")


async def test_a_kick_closes_at_once_and_holds(either, room, alice, bob):
    session = await sign_in(bob)
    async with (
        RoomClient(either, room, await sign_in(alice)) as one,
        RoomClient(either, room, session) as two,
        RoomClient(either, room, session) as tab,
    ):
        seq = (await one.post("/kill bob be nice"))["seq"]
        for page in (two, tab):
            assert await page.closed() == 4403
            assert (await page.event("kick"))["reason"] == "be nice"
            assert page.events[-1]["seq"] == seq
        assert (await one.event("leave"))["cause"] == "kicked"
    async with SocketClient(either, f"/ws/rooms/{room.slug}/", session) as again:
        assert await again.closed() == 4403
        assert again.of_type("welcome") == []
    assert await faults() == []


async def test_signing_out_closes_within_two_seconds(server, room, alice, bob, browse):
    session = await sign_in(bob)
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, session) as two,
    ):
        await two.say("hi")
        # By a request to the server: there the session ends.
        await sync_to_async(sign_out_by_request)(server, session)
        start = time.monotonic()
        assert await two.closed() == 4401
        assert time.monotonic() - start < 2
        assert (await one.event("leave"))["cause"] == "signed out"


def sign_out_by_request(server, session):
    import httpx

    jar = {settings.SESSION_COOKIE_NAME: session}
    with httpx.Client(base_url=server.url, cookies=jar, follow_redirects=True) as http:
        page = http.get("/accounts/logout/")
        token = page.text.partition('name="csrfmiddlewaretoken" value="')[2]
        form = {"csrfmiddlewaretoken": token.partition('"')[0]}
        headers = {"Referer": server.url, "Origin": server.url}
        assert http.post("/accounts/logout/", data=form, headers=headers).is_success


async def test_a_session_that_ends_without_a_word_is_noticed(server, room, bob):
    """As when Redis is dead: another process ended it, and no hint came."""
    session = await sign_in(bob)
    async with RoomClient(server, room, session) as two:
        await sync_to_async(
            Session.objects.filter(pk=Session.hash_of(session)).delete
        )()
        assert await two.closed(seconds=30) == 4401


SHOW_LOBBY = '{"type":"show","rooms":["lobby"]}'


async def test_the_counts_of_rooms_that_are_shown_are_kept_live(
    server, room, alice, bob
):
    other = await sync_to_async(Room.objects.create_with_owner)("other", alice)
    async with (
        SocketClient(server, "/ws/rooms/", await sign_in(alice)) as rooms,
        RoomClient(server, other, await sign_in(alice)) as beside,
    ):
        assert (await rooms.first("rooms"))["here"] == {}
        for page in (rooms, beside):
            await page.send(SHOW_LOBBY)
            await page.first("rooms", here={"lobby": 0})
        async with RoomClient(server, room, await sign_in(bob)) as silent:
            for page in (rooms, beside):
                await page.first("rooms", here={"lobby": 1})
            async with SocketClient(server, "/ws/rooms/", await sign_in(bob)) as late:
                await late.send(SHOW_LOBBY)  # and has the count at once
                await late.first("rooms", here={"lobby": 1})
        # Nobody was told of a room that their page does not show.
        assert silent.of_type("rooms") == []
        told = [*rooms.of_type("rooms"), *beside.of_type("rooms")]
        assert {slug for frame in told for slug in frame["here"]} == {"lobby"}


async def test_the_list_of_rooms_answers_what_it_does_not_take(server, room, alice):
    async with SocketClient(server, "/ws/rooms/", await sign_in(alice)) as rooms:
        await rooms.send('{"type":"post","key":"k","body":"hi"}')
        assert (await rooms.first("error", key="k"))["code"] == "not_allowed"
        await rooms.send("{}")
        await rooms.first("error", code="unknown_type")
        await rooms.send('{"type":"show","rooms":["nowhere", "lobby"]}')
        assert await rooms.first("rooms", here={"lobby": 0})
    assert await bodies(room) == []


async def test_a_change_by_a_command_reaches_the_pages(server, room, alice, bob):
    """A process without a hub writes to the log; the poll finds it."""
    async with RoomClient(server, room, await sign_in(bob)) as two:
        topic = await sync_to_async(room.set_topic)("From outside", by=alice)
        assert (await two.event("topic"))["seq"] == topic.seq


async def test_a_server_that_stops_says_so(serve, room, bob):
    server = serve()
    async with RoomClient(server, room, await sign_in(bob)) as two:
        await two.say("hi")
        await sync_to_async(server.stop)()
        await two.closed()
    visit = await Visit.objects.aget(user=bob)
    assert visit.cause == "shutdown"
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


async def test_a_process_that_was_declared_dead_closes_its_sockets(either, room, bob):
    """Its people come back, to its next life or to another process."""
    session = await sign_in(bob)
    async with RoomClient(either, room, session) as page:
        await page.say("before")
        await Node.objects.running().aupdate(stopped_at=Now())
        assert await page.closed() in (1012, 1000)  # plain Daphne takes no 1012
        assert page.of_type("error")[-1]["code"] == "1012"
    async with RoomClient(either, room, session, page.cursor) as page:
        await page.say("after")
    assert await bodies(room) == ["before", "after"]


# Two processes --------------------------------------------------------------------


async def test_people_in_two_processes_talk(pair, room, alice, bob):
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, await sign_in(bob)) as two,
    ):
        start = time.monotonic()
        for nth in range(20):
            await two.seen(await one.say(f"one {nth}"))
            await one.seen(await two.say(f"two {nth}"))
        assert time.monotonic() - start < 10  # by hints: the poll would take 40 s
        assert one.events[-40:] == two.events[-40:]
    assert await faults() == []


async def test_redis_dies_in_mid_talk(pair, redis_server, room, alice, bob):
    """Talk goes on within 3 s, nothing is lost or doubled; and so when it is back."""
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, await sign_in(bob)) as two,
    ):
        await two.seen(await one.say("with Redis"))
        await sync_to_async(redis_server.kill)()
        for nth in range(4):
            start = time.monotonic()
            seq = await one.say(f"without {nth}")
            assert time.monotonic() - start < 1  # an ack never waits for Redis
            await two.seen(seq)
            assert time.monotonic() - start < 3
        await sync_to_async(redis_server.start)()
        await wait_for_hints(one, two)
        seq = await two.say("with Redis again")
        for page in (one, two):
            await page.seen(seq)
        assert one.seqs[-8:] == two.seqs[-8:]
    said = await bodies(room)
    assert len(said) == len(set(said))
    assert await faults() == []


async def wait_for_hints(one, two):
    """Until the processes hear each other again, faster than by the poll."""
    for nth in range(40):
        start = time.monotonic()
        await two.seen(await one.say(f"are you there? {nth}"))
        if time.monotonic() - start < 0.2:
            return
        await asyncio.sleep(0.3)
    raise AssertionError("the hints did not come back")


async def test_redis_that_hangs_delays_no_ack(pair, redis_server, room, alice, bob):
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, await sign_in(bob)) as two,
    ):
        await two.seen(await one.say("with Redis"))
        redis_server.pause()
        try:
            for nth in range(3):
                start = time.monotonic()
                seq = await one.say(f"hanging {nth}")
                assert time.monotonic() - start < 1
                await two.seen(seq)
                assert time.monotonic() - start < 3
        finally:
            redis_server.resume()


async def test_a_killed_server_is_noticed_and_its_people_come_back(
    pair, room, alice, bob
):
    session = await sign_in(bob)
    async with RoomClient(pair[0], room, await sign_in(alice)) as one:
        async with RoomClient(pair[1], room, session) as two:
            await two.seen(await one.say("hi"))
            cursor = two.cursor
            await sync_to_async(pair[1].kill)()
            await two.closed()
        left = await one.until(
            lambda: [event for event in one.events if event["kind"] == "leave"],
            seconds=40,
        )
        assert (left[0]["user"]["name"], left[0]["cause"]) == ("bob", "lost")
        last = await one.say("where is bob?")
        async with RoomClient(pair[0], room, session, cursor) as two:
            await two.seen(last)
            assert two.seqs[0] == cursor[1] + 1
            back = [
                event
                for event in two.events
                if (event["kind"], event["user"]["name"]) == ("enter", "bob")
            ]
            assert [event["seq"] > left[0]["seq"] for event in back] == [True]
            await one.seen(back[0]["seq"])
    assert await faults() == []


async def test_a_deleted_room_closes_everywhere(pair, room, alice, bob, admin):
    session = await sign_in(bob)
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, session) as two,
    ):
        await one.say("mine")
        delete = await sync_to_async(room.delete_room)(alice)
        for page in (one, two):
            assert await page.closed() == 4404
            assert page.seqs[-1] == delete.seq
            assert page.of_type("error")[-1]["detail"] == "This room was deleted."
    async with SocketClient(pair[1], f"/ws/rooms/{room.slug}/", session) as again:
        assert await again.closed() == 4404
    await sync_to_async(room.recover_room)(admin)
    async with RoomClient(pair[0], room, session) as page:
        await page.say("back")
    assert await faults() == []
    for server in pair:
        assert "Traceback" not in server.log


async def test_a_kick_reaches_the_other_process(pair, room, alice, bob):
    async with (
        RoomClient(pair[0], room, await sign_in(alice)) as one,
        RoomClient(pair[1], room, await sign_in(bob)) as two,
    ):
        await one.post("/kick bob")
        assert await two.closed() == 4403


# Bad input ------------------------------------------------------------------------


async def test_no_bad_frame_closes_the_socket_or_stores_anything(server, room, bob):
    from tests.messaging.test_protocol import BAD

    async with RoomClient(server, room, await sign_in(bob)) as page:
        head = page.cursor[1]
        for name, (text, code) in BAD.items():
            before = len(page.of_type("error"))
            await page.send(b"\x00\x01" if text is None else text)
            await page.until(lambda before=before: len(page.of_type("error")) > before)
            assert page.of_type("error")[-1]["code"] == code, name
            await asyncio.sleep(0.1)  # stay within ten frames a second
        assert await page.say("still here") == head + 1
    assert await bodies(room) == ["still here"]
    assert "Traceback" not in server.log


ORIGINS = {
    "none": "",
    "foreign": "http://evil.example",
    "null": "null",
    "another scheme": "https://127.0.0.1:{port}",
    "another port": "http://127.0.0.1:1",
    "a lookalike": "http://127.0.0.1.evil.example:{port}",
    "with a path": "http://evil.example/http://127.0.0.1:{port}",
}


async def test_a_foreign_origin_is_refused(server, room, bob):
    session = await sign_in(bob)
    for name, origin in ORIGINS.items():
        origin = origin.format(port=server.port)
        line = SocketClient(server, "/ws/rooms/lobby/", session, origin=origin)
        with pytest.raises(InvalidStatus) as refused:
            await line.__aenter__()
        assert refused.value.response.status_code == 403, name


SESSIONS = {
    "none": "",
    "invented": "a" * 32,
    "cut off": "abc",
    "long": "a" * 6_000,
    "not ASCII by quoting": '"\\303\\251"',
}


async def test_who_is_not_signed_in_is_told_so(server, room):
    for name, session in SESSIONS.items():
        async with SocketClient(server, "/ws/rooms/lobby/", session) as line:
            assert await line.closed() == 4401, name
            assert [frame["type"] for frame in line.frames] == ["error"]


async def test_a_room_that_is_not_there(server, room, bob):
    session = await sign_in(bob)
    for name in ("nowhere", "%00", "%D1%87", "..%2f", "x" * 3_000):
        async with SocketClient(server, f"/ws/rooms/{name}/", session) as line:
            assert await line.closed() == 4404, name
    assert "Traceback" not in server.log


async def test_a_non_member_gets_nothing(server, room, stranger):
    async with SocketClient(
        server, "/ws/rooms/lobby/", await sign_in(stranger)
    ) as line:
        assert await line.closed() == 4403
        assert {frame["type"] for frame in line.frames} <= {"error", "rooms"}


async def test_a_bad_cursor_is_refused(server, room, bob):
    session = await sign_in(bob)
    for after in ("x", "-1", "", "9" * 22, "1e3"):
        path = f"/ws/rooms/lobby/?after={after}&epoch=x"
        async with SocketClient(server, path, session) as line:
            assert await line.closed() == 4403, after
            assert line.of_type("welcome") == []


async def test_no_compression_and_no_subprotocol_is_negotiated(server, room, bob):
    session = await sign_in(bob)
    options = {"compression": "deflate", "subprotocols": ["chat"]}
    async with RoomClient(server, room, session, **options) as page:
        assert page.socket.response.headers.get("Sec-WebSocket-Extensions") is None
        assert page.socket.subprotocol is None


async def test_who_is_too_fast_is_told_to_slow_down(server, room, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        for nth in range(40):
            frame = {"type": "post", "key": f"k{nth}", "body": f"{nth}"}
            await page.send(json.dumps(frame))
        answers = [await page.answer(f"k{nth}") for nth in range(40)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"slow_down"}
        stored = [answer for answer in answers if answer["type"] == "ack"]
        assert 20 <= len(stored) <= 25
        await asyncio.sleep(3)
        await page.say("slower now")


async def test_who_goes_on_regardless_is_closed(server, room, alice, bob):
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as flooder,
    ):
        for _nth in range(200):
            await flooder.send('{"type":"nonsense"}')
        assert await flooder.closed() == 4429
        await one.say("and nobody minds")


async def test_who_floods_the_list_of_rooms_is_closed(server, room, bob):
    session = await sign_in(bob)
    async with SocketClient(server, "/ws/rooms/", session) as flooder:
        await flooder.first("rooms")
        with contextlib.suppress(ConnectionClosed):
            for _nth in range(10_000):
                await flooder.send('{"type":"nonsense"}')
        assert await flooder.closed() == 4429


async def test_a_new_socket_is_no_new_allowance(server, room, bob):
    session = await sign_in(bob)
    async with RoomClient(server, room, session) as flooder:
        for _nth in range(200):
            await flooder.send('{"type":"nonsense"}')
        assert await flooder.closed() == 4429
    await asyncio.sleep(2)
    async with RoomClient(server, room, session) as back:
        assert (await back.post("me again"))["code"] == "slow_down"
        await asyncio.sleep(8)
        await back.say("slower now")


async def test_one_socket_too_many_is_told_so_and_the_others_stay(
    serve, room, alice, bob
):
    server = serve(SOCKETS_PER_PERSON=3)
    session = await sign_in(bob)
    async with AsyncExitStack() as stack:
        lines = [RoomClient(server, room, session), RoomClient(server, room, session)]
        lines.append(SocketClient(server, "/ws/rooms/", session))
        for line in lines:
            await stack.enter_async_context(line)
        await lines[-1].first("rooms")
        for path in ("/ws/rooms/lobby/", "/ws/rooms/"):
            async with SocketClient(server, path, session) as one_more:
                assert await one_more.closed() == 4409
                (farewell,) = one_more.of_type("error")
                assert farewell["code"] == "4409"
                assert "3 connections" in farewell["detail"]
        async with RoomClient(server, room, await sign_in(alice)) as other:
            await lines[0].seen(await other.say("all are here"))
        assert not any(line.close_code for line in lines)
        await stack.pop_all().aclose()
    async with RoomClient(server, room, session) as again:  # the places are free again
        await again.say("here I am")


async def test_who_reads_too_slowly_is_closed_and_nobody_waits(serve, room, alice, bob):
    server = serve(FRAMES_PER_SECOND=10_000)
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as stalled,
    ):
        stalled.socket.transport.pause_reading()
        for nth in range(60):  # 16 KB each, twice what the kernel keeps for a socket
            posts = [one.say("x" * 8_000, f"big-{nth}-{part}") for part in range(10)]
            await asyncio.gather(*posts)
        closed = Visit.objects.filter(user=bob, closed_at__isnull=False)
        async with asyncio.timeout(10):
            while not await closed.aexists():
                await asyncio.sleep(0.1)
        await one.seen(await one.say("and nobody minds"))
        stalled.socket.transport.resume_reading()
        await stalled.closed()
        # The farewell may be lost with all that waits before it; the server counts it.
        closes = await asyncio.to_thread(Metrics, server)
        assert closes["rollcall_sockets_closed_total", "4408"] == 1


async def test_a_frame_too_large_for_the_server_closes_only_its_socket(
    server, room, alice, bob
):
    async with (
        RoomClient(server, room, await sign_in(alice)) as one,
        RoomClient(server, room, await sign_in(bob)) as two,
    ):
        await two.send("x" * (300 * 1024))
        assert await two.closed() in (1006, 1009)
        await one.say("and nobody minds")


async def test_rooms_do_not_leak_into_each_other(server, room, alice, bob):
    other = await sync_to_async(Room.objects.create_with_owner)("other", alice)
    session = await sign_in(alice)
    async with (
        RoomClient(server, other, session) as there,
        RoomClient(server, room, await sign_in(bob)) as here,
    ):
        await there.say("a secret")
        await here.say("nothing here")
        await asyncio.sleep(0.5)
        assert "a secret" not in json.dumps(here.frames)
        assert "nothing here" not in json.dumps(there.frames)


async def test_who_was_told_of_a_new_epoch_goes_on_talking(server, room, bob):
    async with RoomClient(server, room, await sign_in(bob)) as page:
        await page.say("before")
        await sync_to_async(Installation.renew)()
        await page.first("reset", reason="epoch")
        assert (await page.post("after"))["type"] == "ack"

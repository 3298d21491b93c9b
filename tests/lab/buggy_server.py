"""A server with a fault put into it, which the fuzzer must find:
`python -m tests.lab.buggy_server FAULT serve`."""

import sys
import time
from contextlib import suppress

from tests.support import instrumented_server
from tests.support.instrumented_server import InstrumentedServer

MARK = "good"  # many a post has this word


class BuggyServer(InstrumentedServer):
    """An InstrumentedServer with the fault of that name."""

    def __init__(self, folder, fault, **environment):
        super().__init__(folder, **environment)
        self.command[2:4] = ["-m", "tests.lab.buggy_server", fault]


def raises_on_a_list_as_type():
    """A list where a text belongs is a TypeError: the socket dies with 1011, and the
    log tells."""
    from messaging import protocol

    protocol._string = lambda value: value


def forgets_to_answer():
    from messaging.consumers import RoomConsumer

    deliver = RoomConsumer.deliver

    async def forgetful(self, frame):
        if b'"notice"' not in frame:
            await deliver(self, frame)

    RoomConsumer.deliver = forgetful


def loses_the_key():
    from messaging import protocol

    error = protocol.error
    protocol.error = lambda code, detail, key=None: error(
        code, detail, None if code == "bad_field" else key
    )


def answers_twice():
    from messaging.consumers import RoomConsumer

    answer = RoomConsumer._answer

    async def talkative(self, post, turn):
        await answer(self, post, turn)
        if MARK in post.body:
            await answer(self, post, turn)

    RoomConsumer._answer = talkative


def stores_what_it_refuses():
    from messaging.consumers import RoomConsumer
    from messaging.live import runtime
    from messaging.writing.requests import PostMessage
    from rooms.rights import Refused

    receive = RoomConsumer.receive

    async def storing(self, text_data=None, bytes_data=None):
        await receive(self, text_data, bytes_data)
        if "__proto__" in (text_data or ""):
            key = f"{time.monotonic_ns()}"
            with suppress(Refused):  # who was put out meanwhile
                await runtime.current().writer.write(
                    PostMessage(self.room_id, self.user, key, "all the same")
                )

    RoomConsumer.receive = storing


def stores_another_text():
    from messaging import consumers

    say = consumers.PostMessage
    consumers.PostMessage = lambda room, user, key, body, *rest, **named: say(
        room, user, key, body.replace("\u200b", ""), *rest, **named
    )


def stops_the_loop():
    """As a regular expression does that goes back and forth."""
    from messaging import protocol

    post = protocol.READERS["post"]

    def slow(frame):
        if "__proto__" in frame:
            time.sleep(4)
        return post(frame)

    protocol.READERS["post"] = slow


def keeps_sockets():
    from messaging.live.hub import Hub

    leave = Hub.leave
    kept = []

    def keeping(self, socket):
        kept.append(socket)
        leave(self, socket)
        self.sockets.add(socket)

    Hub.leave = keeping


FAULTS = {
    one.__name__: one
    for one in (
        raises_on_a_list_as_type,
        forgets_to_answer,
        loses_the_key,
        answers_twice,
        stores_what_it_refuses,
        stores_another_text,
        stops_the_loop,
        keeps_sockets,
    )
}


if __name__ == "__main__":
    instrumented_server.main(FAULTS[sys.argv.pop(1)])

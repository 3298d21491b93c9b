"""What large pages of the log cost a real server, where many are asked for at once."""

import asyncio
import re
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from messaging import history
from messaging.models import Message
from messaging.rendering.markdown import MAX_HTML, to_html
from messaging.writing.requests import PostMessage, write_batch
from tests.support import resource_usage
from tests.support.room_client import sign_in
from tests.support.servers import Rollcall

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
# Code with a colour for each letter, and letters of four bytes: of what may be posted,
# nearly the most bytes.
BODY = "```python\n" + "1+" * 650 + "\n```\n" + "\N{GRINNING FACE}" * 6_680
MESSAGES, PAGES = 250, 50


@pytest.fixture
def new_server():
    """Nothing of its memory is shared with another process."""
    return Rollcall


@sync_to_async
def fill(room, user):
    """Messages of BODY, 22 MB in all."""
    html = to_html(BODY)
    assert 50_000 < len(html.encode()) <= MAX_HTML
    for start in range(0, MESSAGES, 50):
        keys = [f"key-{nth}" for nth in range(start, start + 50)]
        write_batch([PostMessage(room.pk, user, key, BODY) for key in keys])
    Message.objects.update(html=html)
    last = history.records(room.pk, MESSAGES, MESSAGES)[0]
    assert len(last.json) > 85_000


async def ask(server, cookie):
    """(status, bytes) of the largest page of the log that one can ask for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [
        "GET /rooms/lobby/log/?limit=200 HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"Cookie: {cookie}",
        "Connection: close",
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = await reader.read()
    writer.close()
    return int(answer[9:12]), len(answer)


def peak(server):
    """Bytes that were resident at most, since the server started."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


async def test_fifty_pages_of_long_messages_take_little_memory(serve, room, bob):
    await fill(room, bob)
    server = await sync_to_async(serve)()
    cookie = f"{settings.SESSION_COOKIE_NAME}={await sign_in(bob)}"
    assert (await ask(server, cookie))[0] == 200
    before = resource_usage.memory(server)
    for _round in range(3):
        pages = await asyncio.gather(*(ask(server, cookie) for _nth in range(PAGES)))
        assert max(size for _status, size in pages) < MIB + 1_000
        assert sum(status == 200 for status, _size in pages) > PAGES / 2
    print(f"{before / MIB:.0f} MiB before, {peak(server) / MIB:.0f} at most")
    assert peak(server) - before < 200 * MIB

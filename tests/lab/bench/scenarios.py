"""What is measured. Each scenario returns plain numbers; report.py tells them."""

import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
from django.db import connection

from messaging.live.limits import RATE
from rooms.models import Head
from tests.lab.bench.load import LoadPlan, Swarm
from tests.lab.bench.slow_author import SlowAuthor
from tests.lab.bench.stage import load
from tests.support.monitoring import Metrics
from tests.support.servers import free_port
from tests.support.slow_texts import SLOW, SLOWEST

RIVALS = Path(__file__).parent / "rivals"
PYTHON_RIVALS = {"aiohttp loop": "aiohttp_loop.py", "bare send": "bare_send.py"}
CHAT = {"marker": '"body":"t', "ready": "ready", "post": '{{"body":"{text}"}}'}
STOCK = {**CHAT, "marker": '"body": "t'}  # as json.dumps writes it
SOCKET_IO = {
    "marker": '["chat","t',
    "ready": '["ready"]',
    "post": '42["chat","{text}"]',
    "hello": "40",
}


def median_of(runs):
    """Run by run, the median of each number."""
    names = {name for run in runs for name in run}
    return {
        name: statistics.median(run[name] for run in runs if name in run)
        for name in names
    }


# The hot room ------------------------------------------------------------------------


def hot_room(stage, rates, people=500, speakers=100, rounds=3, seconds=5, **server):
    """One room, one process: {rate: what was seen}, medians over rounds."""
    stage.people_in(people)
    stage.room("hot", stage.people[:people])
    runs = {rate: [] for rate in rates}
    with stage.servers(**server) as (server,):
        for _round in range(rounds):
            for rate in rates:
                runs[rate].append(
                    load(
                        port=server.port,
                        **stage.sockets("hot", people),
                        speakers=speakers,
                        rate=rate,
                        seconds=seconds,
                    )
                )
    return {rate: median_of(run) for rate, run in runs.items()}


def rival_room(stage, name, rates, people=500, speakers=100, rounds=1, seconds=4):
    """The same with a rival: {rate: what was seen}; None if it cannot run here."""
    plan = SOCKET_IO if name == "Socket.IO + Redis" else CHAT
    plan = STOCK if name.startswith("stock") else plan
    path = "/socket.io/?EIO=4&transport=websocket" if plan is SOCKET_IO else "/"
    runs = {rate: [] for rate in rates}
    for _round in range(rounds):
        for rate in rates:
            with rival(stage, name) as port:
                if port is None:
                    return None
                runs[rate].append(
                    load(
                        port=port,
                        paths=[path] * people,
                        speakers=speakers,
                        rate=rate,
                        seconds=seconds,
                        **plan,
                    )
                )
    return {rate: median_of(run) for rate, run in runs.items()}


@contextmanager
def rival(stage, name):
    """The rival's process, listening; yields its port, or None without Node.js."""
    port = free_port()
    if name.startswith("stock Channels"):
        layer = "core" if "core" in name else "pubsub"
        script = RIVALS / "stock_channels.py"
        command = [sys.executable, script, port, stage.redis.url, layer]
    elif name in PYTHON_RIVALS:
        command = [sys.executable, RIVALS / PYTHON_RIVALS[name], port]
    else:
        folder = node_folder(stage)
        if folder is None:
            yield None
            return
        script = "ws.mjs" if name == "Node ws" else "socketio.mjs"
        command = ["node", folder / script, port, stage.redis.url]
    process = subprocess.Popen([str(word) for word in command])
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def node_folder(stage):
    """The Node rivals with what they need, installed once a run; None without npm."""
    folder = Path(stage.folder) / "node"
    if not folder.exists():
        folder.mkdir()
        for source in (*RIVALS.glob("*.mjs"), RIVALS / "package.json"):
            (folder / source.name).write_text(source.read_text())
        try:
            install = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(install, cwd=folder, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"  without the rivals of Node.js: {error}", file=sys.stderr)
    return folder if (folder / "node_modules").exists() else None


def wait_for_port(port, process):
    import socket

    for _nth in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"the rival gave up with {process.returncode}")
        time.sleep(0.05)
    raise TimeoutError("the rival does not listen")


# Other shapes ------------------------------------------------------------------------


def big_room(stage, people=2000, rate=200, rounds=3, seconds=6):
    stage.people_in(people)
    stage.room("big", stage.people[:people])
    with stage.servers() as (server,):
        runs = [
            load(
                port=server.port,
                **stage.sockets("big", people),
                speakers=100,
                rate=rate,
                seconds=seconds,
            )
            for _round in range(rounds)
        ]
    return median_of(runs)


def many_rooms(stage, rooms=200, people=10, rate=500, rounds=3, seconds=6):
    everybody = stage.people_in(rooms * people)
    paths = []
    for number in range(rooms):
        inside = everybody[number * people : (number + 1) * people]
        room = stage.room(f"room{number}", inside)
        paths += [f"/ws/rooms/{room.slug}/"] * people
    with stage.servers() as (server,):
        runs = [
            load(
                port=server.port,
                paths=paths,
                cookies=stage.cookies[: len(paths)],
                speakers=rooms,
                rate=rate,
                seconds=seconds,
            )
            for _round in range(rounds)
        ]
    return median_of(runs)


def two_processes(stage, people=500, rate=300, rounds=3, seconds=6):
    stage.people_in(people)
    room = stage.room("hot", stage.people[:people])
    runs = []
    with stage.servers(2) as servers:
        for _round in range(rounds):
            before = publishes(stage), head(room)
            run = load(
                port=0,
                ports=[server.port for server in servers],
                **stage.sockets("hot", people),
                # An odd step between speakers: they are spread over both.
                speakers=99,
                rate=rate,
                seconds=seconds,
            )
            events = head(room) - before[1]
            run["publishes_per_event"] = (publishes(stage) - before[0]) / events
            runs.append(run)
    return median_of(runs)


def publishes(stage):
    """How many times PUBLISH was called, less the probes (one a process and 2 s)."""
    stats = stage.redis.client.info("commandstats")
    return stats.get("cmdstat_publish", {}).get("calls", 0)


def head(room):
    return Head.objects.get(room=room).seq


def idle_sockets(stage, counts=(1000, 2000, 3000, 4000, 5000), watch=10):
    """Memory a socket, and what the process does when nobody does anything."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(counts)
    everybody = stage.people_in(most)
    size = 500
    paths = []
    for start in range(0, most, size):
        room = stage.room(f"idle{start}", everybody[start : start + size])
        paths += [f"/ws/rooms/{room.slug}/"] * size
    rows = []
    with stage.servers() as (server,):
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        swarm = Swarm(LoadPlan(port=server.port, cookies=stage.cookies))
        for count in counts:
            swarm.plan.paths = paths[:count]
            swarm.connect(start=len(swarm.sockets))
            time.sleep(1)
            rows.append(
                {
                    "sockets": count,
                    "kb_each": (process.memory_info().rss - before) / count / 1000,
                    "megabytes": process.memory_info().rss / 1e6,
                }
            )
        swarm.drain(12)
        cpu = process.cpu_times()
        swarm.drain(watch)
        now = process.cpu_times()
        busy = now.user + now.system - cpu.user - cpu.system
        rows[-1]["idle_cpu_percent"] = 100 * busy / watch
        rows[-1]["closed"] = swarm.closed
        swarm.close()
    return rows


def mass_return(stage, people=2000, behind=50):
    """All sockets come back at once, from cursors that are `behind` events old."""
    everybody = stage.people_in(people)
    room = stage.room("big", everybody)
    from messaging.writing.requests import PostMessage, write_batch
    from rooms.models import Installation

    for nth in range(behind):
        key = f"behind-{time.monotonic_ns()}-{nth}"
        write_batch([PostMessage(room.pk, everybody[0], key, "While you were away")])
    seq, epoch = head(room) - behind, Installation.current().epoch
    with stage.servers() as (server,):
        path = f"/ws/rooms/big/?after={seq}&epoch={epoch}"
        plan = {
            "port": server.port,
            "paths": [path] * people,
            "cookies": stage.cookies[:people],
            "rate": 0,
            "seconds": 0.1,
            "warm_up": 0,
            "at_once": people,
        }
        most = Watch(postgres_sessions)
        report = load(**plan)
        return {
            "people": people,
            "all_live_in": report["connected_in"],
            "postgres_sessions": most.stop(),
        }


def postgres_sessions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


class Watch:
    """The largest value of something, looked at every 50 ms by a thread."""

    def __init__(self, look):
        import threading

        self._look, self._most, self._going = look, 0, True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while self._going:
            self._most = max(self._most, self._look())
            time.sleep(0.05)
        connection.close()

    def stop(self):
        self._going = False
        self._thread.join()
        return self._most


def long_log(stage, sizes=(10_000, 10_000_000), requests=60):
    """Pages of rooms whose logs have so many events: ms of the whole request."""
    (reader,) = stage.people_in(1)
    rooms = [(size, stage.room(f"log{size}", [reader])) for size in sizes]
    for size, room in rooms:
        fill(stage, room, reader, size)
    rows = {size: {"page": [], "older": []} for size in sizes}
    with stage.servers() as (server,):
        for nth in range(requests + 10):
            for size, room in rooms:
                middle = head(room) // 2
                page = timed(stage, server, f"/rooms/{room.slug}/")
                older = timed(
                    stage, server, f"/rooms/{room.slug}/log/?before={middle + nth * 50}"
                )
                if nth >= 10:  # the first ones warm up
                    rows[size]["page"].append(page)
                    rows[size]["older"].append(older)
    return {
        size: {name: statistics.median(times) for name, times in row.items()}
        for size, row in rows.items()
    }


def timed(stage, server, path):
    request = Request(server.url + path, headers={"Cookie": stage.cookies[0]})
    start = time.perf_counter()
    with urlopen(request) as response:
        response.read()
    return (time.perf_counter() - start) * 1000


def fill(stage, room, author, size):
    """Events up to number `size`, straight into the tables, a million at a time."""
    with stage.superuser() as cursor:
        # Millions of foreign keys that are known to be right need not be looked up.
        cursor.execute("SET session_replication_role = replica")
        for start in range(head(room) + 1, size + 1, 1_000_000):
            last = min(size, start + 999_999)
            cursor.execute(FILL_EVENTS, [room.pk, size, author.pk, start, last])
            cursor.execute(FILL_MESSAGES, [author.pk, room.slug, room.pk, start, last])
        cursor.execute("VACUUM ANALYZE rooms_event, messaging_message")
    Head.objects.filter(room=room).update(seq=size)


FILL_EVENTS = """
    INSERT INTO rooms_event (room_id, seq, kind, at, actor_id, data)
    SELECT %s, n, 'message', now() - (%s::bigint - n) * interval '1 s', %s, '{}'
    FROM generate_series(%s::bigint, %s::bigint) AS n
"""
FILL_MESSAGES = """
    INSERT INTO messaging_message (event_id, author_id, key, body, html)
    SELECT id, %s, %s || '-' || seq, 'Line ' || seq, '<p>Line ' || seq || '</p>'
    FROM rooms_event WHERE room_id = %s AND seq BETWEEN %s AND %s AND kind = 'message'
"""


def stalled_reader(stage, people=500, rate=200, rounds=3, seconds=6):
    """What one socket that never reads costs the other 499, and in memory."""
    stage.people_in(people)
    stage.room("hot", stage.people[:people])
    rows = {0: [], 1: []}
    with stage.servers() as (server,):
        process = psutil.Process(server.process.pid)
        for _round in range(rounds):
            for stalled in rows:
                before = process.memory_info().rss
                run = load(
                    port=server.port,
                    **stage.sockets("hot", people),
                    speakers=90,
                    rate=rate,
                    seconds=seconds,
                    stalled=stalled,
                )
                run["grown_mb"] = (process.memory_info().rss - before) / 1e6
                rows[stalled].append(run)
    return {stalled: median_of(runs) for stalled, runs in rows.items()}


# Others post Markdown, too, so that they need the workers.
MARKED = {
    "post": '{{"type":"post","key":"{key}","body":"*{text}*"}}',
    "marker": '"body":"*t',
}
SLOW_TEXTS = {
    "nothing": [],
    "the ten that once held up everybody": list(SLOW.values()),
    "the ten that are slowest today": list(SLOWEST.values()),
    # Which may take longer than the deadline; then the other nine would be plain, too.
    "nine of them, without the slowest": list(SLOWEST.values())[1:],
}


def slow_author(stage, people=100, rounds=3):
    """What one who posts slow texts without pause costs others: {what they post: run}.
    With the limits of a server that people use."""
    stage.people_in(people + rounds * len(SLOW_TEXTS))
    stage.room("slow", stage.people)
    authors = iter(stage.cookies[people:])  # a new one each time: nobody's is plain yet
    rows = {name: [] for name in SLOW_TEXTS}
    with stage.servers(FRAMES_PER_SECOND=RATE) as (server,):
        for _round in range(rounds):
            for name, bodies in SLOW_TEXTS.items():
                author = SlowAuthor(server, "/ws/rooms/slow/", next(authors), bodies)
                rows[name].append(beside(stage, author, people))
    return {name: median_of(runs) for name, runs in rows.items()}


def beside(stage, author, people, rate=50, seconds=8):
    """What others see while a SlowAuthor posts; and how the server fares."""
    before = Metrics(author.server)
    with author if author.bodies else nullcontext():
        run = load(
            port=author.server.port,
            **stage.sockets("slow", people),
            **MARKED,
            speakers=people // 2,
            rate=rate,
            seconds=seconds,
            at_once=5,  # or their coming would be the server's longest delay
        )
    after = Metrics(author.server)
    return {
        **run,
        "slow": author.answered,
        "killed": after.risen(before, "rollcall_rendering_workers_killed_total"),
        "lag": 1000 * after.most(before, "rollcall_loop_lag_seconds"),
    }


def machine():
    """What it ran on, for the report."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    memory = psutil.virtual_memory().total / 2**30
    system = "Linux " + os.uname().release.partition("-")[0]
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {system}"

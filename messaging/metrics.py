"""What an operator watches, as Prometheus counts it; docs/OPERATIONS.md explains each.

An observation takes a microsecond, so the hot path makes one a batch or a post, never
one a socket. What can be looked up when it is asked for is not counted at all.
"""

from django.db import connection
from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from messaging.protocol import Close

disable_created_metrics()

SIZES = (1, 2, 5, 10, 20, 50, 100, 200)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10)

# Writing
BATCH = Histogram(
    "rollcall_batch_requests", "Requests that one transaction wrote.", buckets=SIZES
)
ACK = Histogram(
    "rollcall_ack_seconds", "From a post's coming in to its answer.", buckets=SECONDS
)
DUPLICATES = Counter(
    "rollcall_duplicate_posts", "Posts that were stored already, under the same key."
)
UNKNOWN = Counter(
    "rollcall_unknown_outcomes", "Posts answered try_later: perhaps stored."
)

# Rendering
RENDERING = Histogram(
    "rollcall_rendering_seconds",
    "What a worker took to format a text.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1),
)
STORED_PLAIN = Counter(
    "rollcall_texts_stored_plain",
    "Texts that were stored without their formatting, by why.",
    ["because"],
)
RENDERERS_KILLED = Counter(
    "rollcall_rendering_workers_killed", "Workers that ended in the middle of a text."
)

# Delivering
DELIVERY = Histogram(
    "rollcall_delivery_seconds",
    "From the first news of events to their being written to all sockets.",
    buckets=SECONDS,
)
GAPS = Counter(
    "rollcall_gaps_repaired",
    "Reads of what a room's live end had not been told, by what found it missing.",
    ["found_by"],
)
HOLES = Counter(
    "rollcall_log_holes", "Reads of a log that had a hole. There must be none."
)
RESETS = Counter(
    "rollcall_resets", "Pages told to load the newest page anew, by reason.", ["reason"]
)

# Staying up
CLOSED = Counter("rollcall_sockets_closed", "Sockets closed, by close code.", ["code"])
DECLARED_DEAD = Counter(
    "rollcall_declared_dead", "Times that this process was taken for dead."
)
DATABASE_WAIT = Histogram(
    "rollcall_database_wait_seconds",
    "What a job waited for a database thread.",
    buckets=SECONDS,
)
LOOP_LAG = Histogram(
    "rollcall_loop_lag_seconds",
    "How late the event loop came to what was due.",
    buckets=SECONDS,
)
PAGES_REFUSED = Counter(
    "rollcall_pages_refused", "Requests for pages answered 503: too many waited."
)

# Looked up when they are asked for
SOCKETS = Gauge("rollcall_sockets", "Open sockets of people who are signed in.")
ROOMS = Gauge("rollcall_rooms", "Rooms that this process keeps the live end of.")
WAITING = Gauge("rollcall_writer_waiting", "Requests that wait to be written.")
LOCKED = Gauge("rollcall_rooms_locked", "Rooms that somebody else holds the lock of.")
PAGES_WAITING = Gauge(
    "rollcall_pages_waiting", "Requests for pages that wait for their turn."
)
TEXTS_WAITING = Gauge(
    "rollcall_rendering_waiting", "Texts that wait for a rendering worker."
)
RENDERERS = Gauge("rollcall_rendering_workers", "Rendering workers that are ready.")
HINTS = Gauge("rollcall_hints_connected", "1 while Redis carries hints, else 0.")

# A counter that is not there until it counts hides its first step from rate().
for how in ("news", "poll", "join"):
    GAPS.labels(how)
PLAIN_BECAUSE = ("late", "minute", "busy", "fault")
for why in PLAIN_BECAUSE:
    STORED_PLAIN.labels(why)
for reason in ("ahead", "cleared", "epoch", "gap"):
    RESETS.labels(reason)
_BY_US = {code: CLOSED.labels(int(code)) for code in Close}
_BY_THEM = {code: CLOSED.labels(code) for code in (1000, 1001, 1006, 1009)}
_OTHER = CLOSED.labels("other")


def closed(code) -> None:
    """We closed a socket, with a Close."""
    _BY_US[code].inc()


def lost(code) -> None:
    """A socket was closed by the other side, or its connection broke. A client may say
    any of thousands of codes, ours among them."""
    _BY_THEM.get(code, _OTHER).inc()


def watch(live) -> None:
    """Show how the process's Runtime is when somebody asks."""
    SOCKETS.set_function(lambda: len(live.hub.sockets))
    ROOMS.set_function(lambda: len(live.hub.feeds))
    WAITING.set_function(lambda: live.writer.waiting)
    LOCKED.set_function(lambda: live.writer.locked)
    TEXTS_WAITING.set_function(lambda: live.rendering.waiting)
    RENDERERS.set_function(lambda: live.rendering.workers)
    HINTS.set_function(lambda: live.hub.relay.is_connected)
    REGISTRY.register(Pool())


class Pool(Collector):
    """The connections to PostgreSQL, as their pool counts them."""

    def describe(self):
        return []

    def collect(self):
        stats = connection.pool.get_stats()
        yield GaugeMetricFamily(
            "rollcall_pool_waiting",
            "Who waits for a connection to PostgreSQL now.",
            value=stats.get("requests_waiting", 0),
        )
        yield CounterMetricFamily(
            "rollcall_pool_wait_seconds",
            "What all have waited for a connection, together.",
            value=stats.get("requests_wait_ms", 0) / 1000,
        )
        yield CounterMetricFamily(
            "rollcall_pool_timeouts",
            "How often somebody waited in vain.",
            value=stats.get("requests_errors", 0),
        )

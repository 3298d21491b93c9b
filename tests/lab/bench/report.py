"""From numbers to a page: docs/BENCHMARKS.md and its pictures."""

import subprocess
import time
from importlib.metadata import version

from tests.lab.bench.rates import best, best_within
from tests.lab.figures import DOCS, GREEN, GREY, RED, picture, table

PACKAGES = ("django", "channels", "channels-redis", "daphne", "twisted", "psycopg")


def write(results):
    (DOCS / "BENCHMARKS.md").write_text(as_text(results))
    draw_hot_room(results["hot_room"])
    draw_idle(results["idle"])
    draw_long_log(results["long_log"])


def as_text(results):
    parts = [head(results)]
    parts += [TELL[name](results[name]) for name in TELL if name in results]
    return "\n\n".join(parts) + "\n"


def head(results):
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"""# Benchmarks

What `make bench` measured, as it printed it: {time.strftime("%Y-%m-%d")}, {results["machine"]};
Python {python()}, {packages}, {program("redis-server", "--version")}.

PostgreSQL, Redis, the server and the load generator share these cores. Medians of
{results["rounds"]} round(s), ours and the rivals' by turns. Every message of ours had its rights checked and
was committed (`synchronous_commit = on`) before its ack; no rival stores anything, and theirs carry the bare
text (77 bytes) where ours carry number, time, person, key, HTML and source (280 bytes).
Times are from the sender's write to the reader's read, of the oldest event in a read."""


def python():
    import platform

    return platform.python_version()


def program(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"no {command[0]}"
    return " ".join(done.stdout.split()[:3])


def thousands(number):
    return f"{number:,.0f}"


def ms(number):
    return f"{number:,.0f} ms" if number >= 20 else f"{number:.1f} ms"


def tell_hot_room(seen):
    ours = seen["ours"]
    rows = [
        (
            thousands(rate),
            thousands(run["deliveries"]),
            ms(run["p50"]),
            ms(run["p99"]),
            ms(run.get("ack_p50", 0)),
            ms(run.get("ack_p99", 0)),
        )
        for rate, run in numeric(ours)
    ]
    names = ["offered/s", "deliveries/s", "p50", "p99", "ack p50", "ack p99"]
    most = best(ours)
    rivals = [
        (name, thousands(best(runs)), f"{most / best(runs):.1f} ×")
        for name, runs in sorted(seen["rivals"].items(), key=lambda one: best(one[1]))
    ]
    return f"""## A hot room: 500 people, 100 of them speaking, one process

{table(names, rows)}

Within p99 ≤ 80 ms: **{thousands(best_within(ours, 80))} deliveries/s**. The most: {thousands(most)}/s.

![Deliveries and delay against the offered rate](pictures/bench-hot-room.svg)

The same room with others, each at the offered rate that it delivered the most at:

{table(["", "deliveries/s", "ours is"], rivals)}"""


def numeric(runs):
    """(rate, run) in order; JSON makes the rates strings."""
    return sorted((float(rate), run) for rate, run in runs.items())


def tell_shape(title):
    def tell(run):
        names = ["offered/s", "deliveries/s", "p50", "p99", "ack p50", "ack p99"]
        row = (
            thousands(run["offered"]),
            thousands(run["deliveries"]),
            *(ms(run[name]) for name in ("p50", "p99", "ack_p50", "ack_p99")),
        )
        extra = ""
        if "publishes_per_event" in run:
            extra = f"\n\nRedis publishes an event: {run['publishes_per_event']:.2f}."
        return f"## {title}\n\n{table(names, [row])}{extra}"

    return tell


def tell_idle(rows):
    cells = [
        (
            thousands(row["sockets"]),
            f"{row['kb_each']:.1f} KB",
            thousands(row["megabytes"]),
        )
        for row in rows
    ]
    last = rows[-1]
    return f"""## Idle sockets, signed in and in a room

{table(["sockets", "each", "process, MB"], cells)}

With {thousands(last["sockets"])} open and nobody speaking the process used
{last["idle_cpu_percent"]:.1f} % of a core; {last["closed"]:.0f} were closed.

![Memory against sockets](pictures/bench-idle.svg)"""


def tell_return(run):
    return f"""## The return of {thousands(run["people"])} sockets at once

Each from its cursor, 50 events behind, to a server that has just started: all were live after
**{run["all_live_in"]:.1f} s**. PostgreSQL had at most {run["postgres_sessions"]} sessions."""


def tell_stalled(seen):
    without, with_one = (run for _key, run in sorted(seen.items(), key=str))
    return f"""## A stalled reader among 500

Without one p99 was {ms(without["p99"])}, with one {ms(with_one["p99"])}
({with_one["p99"] / without["p99"]:.2f} ×). The server process grew by {without["grown_mb"]:.1f} MB and
{with_one["grown_mb"]:.1f} MB."""


def tell_slow_author(seen):
    rows = [
        (
            name,
            thousands(run["slow"]),
            thousands(run["killed"]),
            *(ms(run[number]) for number in ("ack_p50", "ack_p99", "ack_max")),
            ms(run["lag"]),
        )
        for name, run in seen.items()
    ]
    names = ["one posts", "acknowledged", "workers killed"]
    names += ["others' ack p50", "p99", "longest", "the loop's lag, at most"]
    return f"""## One person posts slow texts without pause, beside 100 others

Ten a second, which is what one person may; the others post 50 a second, with Markdown in each.

{table(names, rows)}"""


def tell_long_log(seen):
    rows = [
        (thousands(size), ms(run["page"]), ms(run["older"]))
        for size, run in numeric(seen)
    ]
    (_small, short), (_large, long) = numeric(seen)
    return f"""## Pages of a long log

{table(["events in the log", "the room's page", "50 older lines"], rows)}

{long["page"] / short["page"]:.2f} × and {long["older"] / short["older"]:.2f} × the time.

![Page time against the length of the log](pictures/bench-long-log.svg)"""


TELL = {
    "hot_room": tell_hot_room,
    "big_room": tell_shape("A big room: 2,000 people"),
    "many_rooms": tell_shape("Many rooms: 200 rooms of 10"),
    "two_processes": tell_shape("Two processes, 500 people split between them"),
    "idle": tell_idle,
    "return": tell_return,
    "stalled": tell_stalled,
    "slow_author": tell_slow_author,
    "long_log": tell_long_log,
}


def draw_hot_room(seen):
    def draw(axes):
        rates, runs = zip(*numeric(seen["ours"]), strict=True)
        axes.plot(rates, [run["deliveries"] for run in runs], "o-", color=GREEN)
        for name, theirs in seen["rivals"].items():
            rates_, runs_ = zip(*numeric(theirs), strict=True)
            delivered = [max(1, run["deliveries"]) for run in runs_]
            axes.plot(rates_, delivered, ".-", color=GREY, alpha=0.6)
            axes.annotate(name, (rates_[-1], delivered[-1]), fontsize=7, color=GREY)
        axes.set(xscale="log", yscale="log", xlabel="messages/s offered to 500 people")
        axes.set_ylabel("deliveries/s (Rollcall in green)", color=GREEN)
        delay = axes.twinx()
        delay.plot(rates, [run["p99"] for run in runs], "s--", color=RED)
        delay.set_ylabel("Rollcall's p99, ms (dashed)", color=RED)
        delay.set_ylim(bottom=0)

    picture("bench-hot-room", draw)


def draw_idle(rows):
    def draw(axes):
        counts = [row["sockets"] for row in rows]
        axes.plot(counts, [row["megabytes"] for row in rows], "o-", color=GREEN)
        axes.set(
            xlabel="idle sockets", ylabel="memory of the process, MB", ylim=(0, None)
        )

    picture("bench-idle", draw)


def draw_long_log(seen):
    def draw(axes):
        sizes, runs = zip(*numeric(seen), strict=True)
        for name, style in (("page", "o-"), ("older", "s--")):
            label = {"page": "the room's page", "older": "50 older lines"}[name]
            axes.plot(
                sizes, [run[name] for run in runs], style, color=GREEN, label=label
            )
        axes.set(xscale="log", xlabel="events in the log", ylabel="ms", ylim=(0, None))
        axes.legend()

    picture("bench-long-log", draw)

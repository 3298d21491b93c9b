"""`make bench`: measure Rollcall beside its rivals, on this machine, in this run.

PostgreSQL, Redis, the servers and the load generator share the machine. It takes about
half an hour; `--quick` takes five minutes, and writes nothing. `--only hot_room` runs
one part.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tests.lab.bench import report, scenarios
from tests.lab.bench.stage import Stage
from tests.support.servers import PlainDaphne

RATES = (50, 200, 500, 1000, 2000, 2500, 3000)
# The same application without the extension that writes ready frames.
PLAIN = "Rollcall in plain Daphne"
PLAIN_RATES = (200, 500, 1000)
RIVALS = {
    "stock Channels, core": (5, 10, 20),
    "stock Channels, pub/sub": (5, 10, 20),
    "aiohttp loop": (100, 300, 600),
    "Node ws": (200, 400, 600),
    "Socket.IO + Redis": (100, 300, 500),
    "bare send": (200, 600, 800),
}


def hot_rooms(stage, rounds):
    """Ours and the rivals' by turns, so that a noisy minute hits all alike."""
    ours, rivals = [], {name: [] for name in (PLAIN, *RIVALS)}
    for nth in range(rounds):
        say(f"hot room, round {nth + 1} of {rounds}: Rollcall")
        ours.append(scenarios.hot_room(stage, RATES, rounds=1))
        say(f"hot room, round {nth + 1} of {rounds}: {PLAIN}")
        rivals[PLAIN].append(
            scenarios.hot_room(stage, PLAIN_RATES, rounds=1, kind=PlainDaphne)
        )
        for name, rates in RIVALS.items():
            say(f"hot room, round {nth + 1} of {rounds}: {name}")
            seen = scenarios.rival_room(stage, name, rates)
            if seen is not None:
                rivals[name].append(seen)
    return {
        "ours": medians(ours),
        "rivals": {name: medians(runs) for name, runs in rivals.items() if runs},
    }


def medians(runs):
    return {rate: scenarios.median_of([run[rate] for run in runs]) for rate in runs[0]}


PARTS = {
    "hot_room": hot_rooms,
    "big_room": lambda stage, rounds: scenarios.big_room(stage, rounds=rounds),
    "many_rooms": lambda stage, rounds: scenarios.many_rooms(stage, rounds=rounds),
    "two_processes": lambda stage, rounds: scenarios.two_processes(
        stage, rounds=rounds
    ),
    "idle": lambda stage, rounds: scenarios.idle_sockets(stage),
    "return": lambda stage, rounds: scenarios.mass_return(stage),
    "stalled": lambda stage, rounds: scenarios.stalled_reader(stage, rounds=rounds),
    "slow_author": lambda stage, rounds: scenarios.slow_author(stage, rounds=rounds),
    "long_log": lambda stage, rounds: scenarios.long_log(
        stage, sizes=(10_000, 10_000_000 if rounds > 1 else 200_000)
    ),
}


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--results", type=Path, help="keep the raw numbers here (JSON)")
    options = parser.parse_args()
    rounds = 1 if options.quick else 3
    stage = Stage()
    results = {"machine": scenarios.machine(), "rounds": rounds}
    try:
        for name in options.only or PARTS:
            say(name)
            results[name] = PARTS[name](stage, rounds)
            if options.results:
                options.results.write_text(json.dumps(results, indent=1))
    finally:
        stage.close()
    print(report.as_text(results))
    if not options.quick and not options.only:
        report.write(results)
        say("written: docs/BENCHMARKS.md and its pictures")


if __name__ == "__main__":
    main()

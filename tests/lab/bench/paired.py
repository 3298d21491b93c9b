"""`python -m tests.lab.bench.paired ../another/checkout`: the hot room of this
checkout and of another one by turns, so that a noisy minute hits both alike.

The other one needs no environment of its own: it runs with this one's Python. The
server's processor time says most where other programs run on the machine, too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.support.servers import ROOT

ONE = """
import json, sys, threading, time
from contextlib import suppress
import psutil
try:
    from tests.lab.bench import scenarios
    from tests.lab.bench.stage import Stage
except ImportError:  # a checkout of before there was a lab
    from tests.bench import scenarios
    from tests.bench.stage import Stage

samples = []  # (when, the processor time that the server has used)

def watch():
    while True:
        for one in psutil.Process().children():
            with suppress(psutil.Error):  # it has just ended
                if "serve" in one.cmdline():
                    used = one.cpu_times()
                    samples.append((time.monotonic(), used.user + used.system))
        time.sleep(0.1)

def load(**plan):
    run = load_without_watch(**plan)
    end = time.monotonic()
    # While all talk; not while they come and go.
    talk = [one for one in samples if end - 4.5 < one[0] < end - 0.5]
    (began, before), (ended, after) = talk[0], talk[-1]
    used = (after - before) / (ended - began)
    return {**run, "cpu_each": 1e6 * used / run["deliveries"]}  # microseconds

load_without_watch, scenarios.load = scenarios.load, load
threading.Thread(target=watch, daemon=True).start()
stage = Stage()
try:
    seen = scenarios.hot_room(stage, json.loads(sys.argv[1]), rounds=1)
finally:
    stage.close()
print(json.dumps(seen))
"""
NUMBERS = ("deliveries", "p50", "p99", "ack_p50", "ack_p99", "cpu_each")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the folder of another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", type=int, nargs="+", default=[500, 1000, 2000])
    options = parser.parse_args()
    runs = {"other": [], "this": []}
    for nth in range(options.rounds):
        # Who comes first changes, too: the second one finds a warmer machine.
        pair = [("other", options.other), ("this", ROOT)]
        for name, folder in pair[:: -1 if nth % 2 else 1]:
            runs[name].append(hot_room(folder, options.rates))
            print(f"round {nth + 1}, {name}: {runs[name][-1]}", file=sys.stderr)
    for rate in map(str, options.rates):
        for number in NUMBERS:
            tell(rate, number, [[run[rate][number] for run in runs[n]] for n in runs])


def hot_room(folder, rates):
    """{rate: what was seen}, by the benchmark of that checkout."""
    # Its own code, and none of ours: `python -c` looks in the folder it runs in.
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(
        [sys.executable, "-c", ONE, json.dumps(rates)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def tell(rate, number, both):
    """A line: the medians, and the median of the rounds' ratios."""
    other, this = map(statistics.median, both)
    ratio = statistics.median(b / a for a, b in zip(*both, strict=True))
    more = f"{100 * (ratio - 1):+.1f} %"
    print(f"{rate}/s {number}: {other:,.1f} and {this:,.1f}; {more}")


if __name__ == "__main__":
    main()

"""`make fuzz`: a million odd frames to the room's socket of a real server; then a climb
to the texts that take longest to render.

On a finding it prints the seed and the smallest frame that shows it again, and ends
with 1. The frames of a seed are the same in every run. (Where a climb gets to also
depends on the machine.)
"""

import argparse
import asyncio
import secrets
import sys
import time

from tests.lab.fuzz.climb import Climb
from tests.lab.fuzz.hunt import Finding, Hunt, muster, quarry
from tests.lab.fuzz.shrink import Shrinker

SAY_EVERY = 15  # seconds
MB = 1_000_000
MAX_GROWTH = 60  # bytes a frame, after the warm-up: 60 MB in a million frames
TOO_SLOW = 0.5  # seconds of the processor: twice the deadline, on any machine
LONG = 200_000  # frames; in a shorter run the rooms' rings are still being filled


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--climb", type=float, default=300, help="seconds (300)")
    options = parser.parse_args()
    found = 0
    if options.frames:
        with quarry() as server:
            crew = muster()
            found = asyncio.run(hunt(server, crew, options.frames, options.seed))
    if options.climb:
        found |= climb(options.climb, options.seed)
    sys.exit(found)


def climb(seconds, seed):
    """Look for slow texts, and tell the slowest; the exit code is returned."""
    one = Climb(seed)
    slowest = one.run(seconds)
    print(f"The slowest of {one.tried:,} texts to render, in each language:")
    print(*slowest, sep="\n")
    if slowest and slowest[0].seconds > TOO_SLOW:
        print(f"FOUND: it takes more than {TOO_SLOW} s")
        return 1
    return 0


async def hunt(server, crew, frames, seed):
    """Hunt, and tell; the exit code."""
    one = Hunt(server, crew, frames, seed)
    telling = asyncio.create_task(tell(one))
    try:
        await one.run()
        if frames >= LONG and one.growth() > MAX_GROWTH:
            raise Finding(f"memory grows by {one.growth():.0f} bytes a frame")
    except Finding as finding:
        telling.cancel()
        await explain(one, finding)
        return 1
    telling.cancel()
    print(report(one))
    return 0


async def tell(one):
    while True:
        await asyncio.sleep(SAY_EVERY)
        seconds = time.monotonic() - one.began
        print(
            f"{one.sent:,} frames, {one.sent / seconds:,.0f}/s,"
            f" {one.memory[-1][1] / MB:.0f} MB",
            file=sys.stderr,
            flush=True,
        )


async def explain(one, finding):
    print(f"FOUND after {one.sent:,} frames, seed {one.seed}: {finding.what}")
    small = await Shrinker(one).smallest(finding.suspects)
    if small is None:
        print("No single frame shows it again.")
        return
    payload, is_text, what = small
    kind = "text" if is_text else "binary"
    print(f"The smallest {kind} frame that does it: {payload!r}\n{what}")


def report(one):
    waits = sorted(one.waits)
    answers = ", ".join(f"{n:,} {what}" for what, n in sorted(one.answers.items()))
    closes = ", ".join(f"{n:,} × {code}" for code, n in sorted(one.closes.items()))
    return "\n".join(
        [
            f"{one.sent:,} frames in {one.seconds:.0f} s"
            f" ({one.sent / one.seconds:,.0f}/s), seed {one.seed}: nothing found.",
            f"Answers: {answers}.",
            f"{one.scripts:,} scripts of raw bytes; closes: {closes};"
            f" {one.kicked:,} people kicked and let in again.",
            f"Others' acks: p50 {1000 * waits[len(waits) // 2]:.0f} ms,"
            f" p99 {1000 * waits[len(waits) * 99 // 100]:.0f} ms,"
            f" longest {1000 * waits[-1]:.0f} ms.",
            f"Memory: {one.memory[0][1] / MB:.0f} MB at first,"
            f" {one.memory[-1][1] / MB:.0f} MB at last,"
            f" {one.growth():+.1f} bytes a frame after the warm-up.",
            f"In the end: {one.at_last}.",
        ]
    )


if __name__ == "__main__":
    main()

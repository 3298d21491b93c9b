"""`make soak`: people come, talk and go, in all the ways there are, for some minutes;
then what the server kept of them. Ends with 1 if it kept too much."""

import argparse
import asyncio
import secrets
import sys

from tests.lab.fuzz.hunt import log_faults, quarry
from tests.lab.soak.churn import Churn

KB, MB = 1_000, 1_000_000
MAX_GROWTH = 500  # bytes a connection, after the warm-up: 0.5 MB in a thousand
LONG = 5  # minutes; in a shorter soak the rooms' rings are still being filled
SAY_EVERY = 15  # seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    options = parser.parse_args()
    with quarry() as server:
        churn = Churn(server, 60 * options.minutes, options.seed)
        asyncio.run(soak(churn))
    faults = log_faults()
    print(report(churn))
    if faults:
        sys.exit(f"The log is not what it claims to be: {faults}")
    if options.minutes >= LONG and churn.growth > MAX_GROWTH:
        sys.exit("Memory grows.")


async def soak(churn):
    telling = asyncio.create_task(tell(churn))
    await churn.run()
    telling.cancel()


async def tell(churn):
    while True:
        await asyncio.sleep(SAY_EVERY)
        if churn.memory:
            count, size = churn.memory[-1]
            print(f"{count:,} connections, {size / MB:.0f} MB", file=sys.stderr)


def report(churn):
    (before, objects_before), (after, objects) = churn.before, churn.after
    rate = churn.connections / churn.seconds
    posts = sum(visitor.posts for visitor in churn.visitors)
    kinds = ", ".join(f"{n:,} × {name}" for name, n in churn.stays.most_common())
    grown = sorted(
        objects, key=lambda name: objects_before.get(name, 0) - objects[name]
    )
    return "\n".join(
        [
            f"{churn.connections:,} connections ({rate:.0f}/s) and {posts:,} posts in"
            f" {churn.seconds / 60:.1f} minutes, seed {churn.seed}.",
            f"Stays: {kinds}.",
            f"Memory: {churn.memory[0][1] / MB:.0f} MB at first,"
            f" {churn.memory[-1][1] / MB:.0f} MB at last, after the warm-up"
            f" {1_000 * churn.growth / KB:+.1f} KB per 1,000 connections.",
            *(f"{name}: {before[name]} before, {after[name]} after." for name in after),
            "Objects that grew most: "
            + ", ".join(
                f"{name} {objects[name] - objects_before.get(name, 0):+,}"
                for name in grown[:5]
            )
            + ".",
        ]
    )


if __name__ == "__main__":
    main()

"""`make faults`: the fault bench, its verdict, and a report of one page.

Exit code 1 where an invariant did not hold.
"""

import argparse
import asyncio
import shutil
import signal
import sys
from pathlib import Path

KEPT = ("history.jsonl", "*.log")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    from tests.lab.faults import bench, checker, history, report
    from tests.support.deployment import new_folder

    plan = bench.RunPlan(options.minutes, options.seed, options.only, options.rate)
    folder = new_folder()
    try:
        path = asyncio.run(bench.run(plan, folder))
    finally:
        if options.keep:
            keep(folder, options.keep)
    verdict = checker.check(history.read(path))
    text = report.page(verdict)
    print(text)
    if options.report:
        options.report.write_text(text)
    sys.exit(bool(verdict.violations))


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.faults",
        description=__doc__,
        epilog="The same seed gives the same load and the same schedule.",
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (1)")
    parser.add_argument("--rate", type=float, default=150, help="messages a second")
    parser.add_argument("--only", metavar="N5", help="this one, again and again")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="history and logs")
    return parser.parse_args()


def keep(folder, place):
    place.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for path in folder.glob(pattern):
            shutil.copy(path, place)


if __name__ == "__main__":
    main()

"""From a verdict to a page: what `make faults` prints, and docs/RELIABILITY.md shows.

`python -m tests.lab.faults.report HISTORY` judges a history that was kept, and writes
its numbers and pictures into docs/.
"""

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests.lab.bench.scenarios import machine
from tests.lab.faults.checker import INVARIANTS, check
from tests.lab.faults.history import read
from tests.lab.faults.measures import STEP
from tests.lab.faults.nemesis import OPERATIONS
from tests.lab.figures import DOCS, GREEN, GREY, RED, picture, table

PAGE = DOCS / "RELIABILITY.md"
FIRST, LAST = "<!-- results: written by the bench -->", "<!-- end of results -->"
SHOWN = 5  # violations of each invariant


def page(verdict):
    """One page of Markdown: the numbers, the faults, and what did not hold."""
    parts = [head(verdict), totals(verdict.numbers), faults(verdict.numbers)]
    return "\n\n".join([*parts, held(verdict)]) + "\n"


def head(verdict):
    found = verdict.numbers
    words = "Every invariant held." if not verdict.violations else failed(verdict)
    packages = ", ".join(f"{name} {version(name)}" for name in ("django", "daphne"))
    day = time.strftime("%Y-%m-%d")
    lost = ", ".join(f"{found[name]} {name}" for name in ("lost", "doubled", "gaps"))
    return f"""{day}, {found["minutes"]:.0f} minutes on {machine()};
Python {platform.python_version()}, {packages}.
The load, the proxies and the system share the machine.

**{found["faults"]} faults: {lost}.** {words}"""


def failed(verdict):
    return f"**Did not hold: {', '.join(sorted(verdict.red, key=in_order))}.**"


def in_order(invariant):
    return int(invariant[1:])


def totals(found):
    resets = ", ".join(f"{name} {n}" for name, n in sorted(found["resets"].items()))
    rows = [
        ("messages, sends with repeats", f"{found['messages']:,}, {found['sends']:,}"),
        ("sent more than once", f"{found['repeated']:,}"),
        ("acknowledged", f"{found['acked']:,}"),
        ("delivered", f"{found['delivered']:,}"),
        ("kicks, joins, partings, sign-outs", f"{found['acts']:,}"),
        ("sockets opened", f"{found['connections']:,}"),
        ("**acknowledged and lost**", found["lost"]),
        ("**doubled**", found["doubled"]),
        ("**gaps**", found["gaps"]),
        ("**out of order**", found["out of order"]),
        ("**seen by who may not**", found["leaks"]),
        ("gone with a restored backup, by design", f"{found['restored away']:,}"),
        ("resets", resets or "none"),
        ("ack p50, p99", f"{ms(found['ack p50'])}, {ms(found['ack p99'])}"),
        (
            "delivery p50, p99",
            f"{ms(found['delivery p50'])}, {ms(found['delivery p99'])}",
        ),
        ("worst recovery", f"{found['worst recovery']:.1f} s"),
    ]
    return table(("what", "how much"), rows)


def faults(found):
    rows = [
        (
            name,
            OPERATIONS[name].what if name in OPERATIONS else "",
            len(seconds),
            f"{median(seconds):.1f} s",
            f"{max(seconds):.1f} s",
        )
        for name, seconds in found["recovery"].items()
    ]
    return f"""Recovery is the time from the end of a fault until a message is
acknowledged and every line that broke in it is back.

{table(("fault", "what it is", "times", "p50", "max"), rows)}"""


def held(verdict):
    rows = [
        (
            name,
            judge.__name__.replace("_", " "),
            verdict.numbers["violations"].get(name, 0),
        )
        for name, judge in INVARIANTS.items()
    ]
    lines = [table(("invariant", "", "violations"), rows)]
    for name in INVARIANTS:
        found = [one.what for one in verdict.violations if one.invariant == name]
        if found:
            more = f"\n- … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            shown = "\n".join(f"- {what}" for what in found[:SHOWN])
            lines.append(f"{name}:\n\n{shown}{more}")
    return "\n\n".join(lines)


def ms(seconds):
    return f"{1000 * seconds:,.0f} ms"


# Into docs/ ---------------------------------------------------------------------


def write(verdict):
    """Put the results into docs/RELIABILITY.md, and its pictures beside it."""
    results = f"{pictures()}\n\n{page(verdict)}"
    PAGE.write_text(with_results(PAGE.read_text(), results))
    draw_timeline(verdict.numbers["timeline"])
    draw_recovery(verdict.numbers["recovery"])


def pictures():
    return """![Messages acknowledged, and the faults](pictures/faults-timeline.svg)

![Recovery by fault](pictures/faults-recovery.svg)"""


def with_results(text, results):
    """The page with other results; ValueError if it has no place for them."""
    before, found, rest = text.partition(FIRST)
    _old, ended, after = rest.partition(LAST)
    if not (found and ended):
        raise ValueError(f"{PAGE.name} has no place for the results")
    return f"{before}{FIRST}\n\n{results}\n{LAST}{after}"


def draw_timeline(found):
    def draw(axes):
        for start, end in found["faults"]:
            axes.axvspan(start / 60, end / 60, color=RED, alpha=0.2, linewidth=0)
        minutes = [(nth + 0.5) * STEP / 60 for nth in range(len(found["acks"]))]
        rates = [count / STEP for count in found["acks"]]
        axes.plot(minutes, rates, color=GREEN, linewidth=0.8)
        axes.set(xlabel="minutes (a fault hurts where it is red)", ylim=(0, None))
        axes.set_ylabel("messages acknowledged a second")

    picture("faults-timeline", draw, 3.2)


def draw_recovery(found):
    def draw(axes):
        for nth, seconds in enumerate(found.values()):
            axes.plot(seconds, [nth] * len(seconds), ".", color=GREY, alpha=0.6)
            axes.plot(median(seconds), nth, "|", color=GREEN, markersize=10)
        axes.set_yticks(range(len(found)), list(found))
        axes.set(xlabel="seconds until all is well again (median: green)")
        axes.set_xlim(left=0)
        axes.invert_yaxis()

    picture("faults-recovery", draw, 1.2 + 0.2 * len(found))


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    verdict = check(read(Path(sys.argv[1])))
    write(verdict)
    print(page(verdict))


if __name__ == "__main__":
    main()

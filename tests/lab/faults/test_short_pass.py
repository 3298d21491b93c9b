"""A short pass of the fault bench: everything that kills, freezes or empties a process,
once, and nothing is lost."""

import asyncio

import pytest

from tests.lab.faults import bench, checker, history
from tests.support.deployment import new_folder

SEED = 4
# Those that hurt a whole process or a store; the others take their turns in `make
# faults`, and all in its long passes.
OPERATIONS = ("N1", "N2", "N3b", "N4", "N5", "N7", "N9", "N11", "N18", "N20", "N21")
RATE = 60  # messages a second: a small machine has to run all of it
# How long things take is the machine's affair here; it is judged in the long passes.
PATIENT = checker.Limits(
    send=20, delivery=20, error=20, first_ok=30, live_again=30, all_back=60, fence=30
)


@pytest.mark.timeout(300)
def test_nothing_is_lost_though_everything_is_killed_once(deployable):
    plan = bench.RunPlan(minutes=4, seed=SEED, rate=RATE, names=OPERATIONS)
    path = asyncio.run(bench.run(plan, new_folder()))
    verdict = checker.check(history.read(path), PATIENT)
    left_out = {*OPERATIONS} - {*verdict.numbers["recovery"]}
    assert left_out <= {"N21"}  # a disk of its own takes root
    assert verdict.numbers["acked"] > 500
    assert verdict.violations == []

"""A slice of the storm: all lines break at once, and all come back at once."""

import pytest

from tests.lab.faults.storm import Seen, storm

PEOPLE, GATE = 200, 80  # handshakes a second: it takes them all 2.5 s


@pytest.mark.timeout(180)
def test_all_come_back_through_the_gate(deploy):
    site = deploy(nginx={"HANDSHAKES": GATE, "GATE_LINE": PEOPLE})
    seen = storm(site, PEOPLE)
    assert seen.people == PEOPLE
    # A busy machine sees late in one second who was let in in another.
    assert list(seen.faults(1.5 * GATE)) == []
    assert seen.all_back > 0.8 * PEOPLE / GATE  # the gate was what they waited at


def test_a_storm_that_did_not_pass_is_told():
    seen = Seen(2000, first_live=15, all_back=61, most_in_a_second=200, sessions=31)
    assert list(seen.faults(gate=150)) == [
        "the last line was back in 61 s",
        "PostgreSQL had 31 sessions, not 30",
        "200 were let in in a second, not 150",
    ]

"""A slice of the storm: all lines break at once, and all come back at once."""

import pytest

from tests.lab.faults.storm import Seen, storm


@pytest.mark.timeout(180)
def test_all_come_back_at_once(deployed):
    seen = storm(deployed, people=200)
    assert seen.people == 200
    assert list(seen.faults(gate=1000)) == []


def test_a_storm_that_did_not_pass_is_told():
    seen = Seen(2000, first_live=15, all_back=61, most_in_a_second=200, sessions=31)
    assert list(seen.faults(gate=150)) == [
        "the last line was back in 61 s",
        "PostgreSQL had 31 sessions, not 30",
        "200 were let in in a second, not 150",
    ]

"""Who may say of others that they are dead."""

import pytest

from messaging.presence import Presence
from rooms.models.attendance import DEAD_AFTER, HEARTBEAT_EVERY

LONG_ENOUGH = DEAD_AFTER.total_seconds() + HEARTBEAT_EVERY


def beats(start, seconds):
    return [start + at for at in range(0, int(seconds) + 1, HEARTBEAT_EVERY)]


@pytest.fixture
async def presence():
    return Presence(hub=None)


async def test_who_has_just_come_waits_for_as_long_as_others_may_be_silent(presence):
    *early, last = (presence._is_steady(now) for now in beats(1000, LONG_ENOUGH))
    assert not any(early)
    assert last


async def test_who_was_cut_off_takes_nobody_for_dead_until_they_had_time(presence):
    assert [presence._is_steady(now) for now in beats(1000, LONG_ENOUGH)][-1]
    back = 1000 + LONG_ENOUGH + DEAD_AFTER.total_seconds()
    *early, last = (presence._is_steady(now) for now in beats(back, LONG_ENOUGH))
    assert not any(early)
    assert last

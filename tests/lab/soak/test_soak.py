"""A slice of `make soak`."""

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from tests.conftest import database_url
from tests.lab.buggy_server import BuggyServer
from tests.lab.fuzz.hunt import ENVIRONMENT, log_faults
from tests.lab.soak.churn import Churn
from tests.lab.soak.stays import Visitor
from tests.support.instrumented_server import InstrumentedServer

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 6


@pytest.fixture
def environment():
    own = {"DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY}
    return {**own, **ENVIRONMENT, "KEEP_IDLE": 1}


async def test_who_has_gone_leaves_nothing_behind(tmp_path, environment):
    server = InstrumentedServer(tmp_path, **environment).start()
    try:
        churn = Churn(server, SECONDS, "in CI")
        await churn.run()
    finally:
        server.stop()
    assert {*churn.stays} == {kind.__name__ for kind in Visitor.STAYS}
    assert await sync_to_async(log_faults)() == []


async def test_what_is_left_behind_is_found(tmp_path, environment, monkeypatch):
    monkeypatch.setattr("tests.lab.soak.churn.SETTLES_WITHIN", 1)
    server = BuggyServer(tmp_path, "keeps_sockets", **environment).start()
    try:
        with pytest.raises(AssertionError, match="left over"):
            await Churn(server, 1, "seeded").run()
    finally:
        server.stop()

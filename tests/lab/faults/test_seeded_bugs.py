"""Can the bench see? Each bug of TRUST 3.5 is seeded in a real server, on a real
PostgreSQL and Redis, and has to turn its invariant red; the same scene without the bug
is green."""

import sys

import pytest
from django.conf import settings
from django.db import connection

from messaging.protocol import Close
from tests.conftest import database_url
from tests.lab.faults import final, provision, scenes, seeded_bugs
from tests.lab.faults.checker import Limits, check
from tests.lab.faults.history import read
from tests.lab.faults.page import FAREWELLS
from tests.lab.faults.proxy import Proxies
from tests.support.servers import Rollcall

# A server that starts cold doubles with the first ten megabytes that are said.
LIMITS = Limits(rss_factor=2.6, rss_extra=0)
caught = set()


class SeededServer(Rollcall):
    def __init__(self, bug, folder, **environment):
        super().__init__(folder, **environment)
        module = [sys.executable, "-u", "-m", "tests.lab.faults.seeded_bugs"]
        self.command = [*module, bug, "serve", "--prepared"]


@pytest.fixture(scope="module")
def lines():
    lines = Proxies(1)
    yield lines
    lines.close()
    lines.process.stdout.close()


@pytest.fixture
def stage(transactional_db, redis_server, lines, tmp_path, monkeypatch):
    """stage(bug, servers): the Backdrop, its servers started with the bug in them."""
    started = []
    server = connection.settings_dict
    database = {"host": server["HOST"], "dbname": server["NAME"], "user": "postgres"}

    def stage(bug, servers):
        environment = {
            "DATABASE_URL": database_url(),
            "REDIS_URL": redis_server.url,
            "SECRET_KEY": settings.SECRET_KEY,
            "FRAMES_PER_SECOND": 1000,
            "SOCKETS_PER_PERSON": 2 * scenes.STALLED,  # they are all of one person
            "KICK_SECONDS": 1,  # a scene waits 5 s for all to be back
        }
        began = scenes.ask(database, "SELECT now()")[0][0]
        started.extend(
            SeededServer(bug, tmp_path, **environment) for _ in range(servers)
        )
        for server in started:
            server.launch()
        for server in started:
            server.wait_until_ready()
        return scenes.Backdrop(started, redis_server, lines, database, began)

    monkeypatch.setattr(final, "TRIES", 2)  # what is not well by then will not be
    yield stage
    for process in started:
        if process.is_running:
            process.stop()
    with connection.cursor() as cursor:
        seeded_bugs.uproot(cursor)


def play(bug, stage, path):
    """Play the bug's scene; the verdict."""
    slug = f"scene-{list(seeded_bugs.BUGS).index(bug)}"
    made = provision._make(scenes.rooms_of(slug))
    connection.close()  # its session is not to be ended
    scenes.perform(bug, stage, made, slug, path)
    return check(read(path), LIMITS)


@pytest.mark.parametrize("bug", seeded_bugs.BUGS)
def test_a_seeded_bug_is_caught(bug, stage, tmp_path, capsys):
    breaks, _plant = seeded_bugs.BUGS[bug]
    verdict = play(bug, stage(bug, scenes.SCENES[bug].servers), tmp_path / "history")
    assert breaks in verdict.red, verdict.red
    caught.add(bug)
    with capsys.disabled():
        print(f"\n{len(caught)} of {len(seeded_bugs.BUGS)} seeded bugs caught: {bug}")


@pytest.mark.parametrize("bug", seeded_bugs.BUGS)
def test_the_same_scene_without_the_bug_is_green(bug, stage, tmp_path):
    sound = stage("none", scenes.SCENES[bug].servers)
    verdict = play(bug, sound, tmp_path / "history")
    assert verdict.violations == []


def test_every_bug_has_its_scene():
    assert len(seeded_bugs.BUGS) == 17
    assert set(seeded_bugs.BUGS) == set(scenes.SCENES)


def test_the_benchs_page_knows_every_close():
    """Or it would take the frame before a close for a sign that it is let in."""
    assert {str(code.value) for code in Close} <= FAREWELLS

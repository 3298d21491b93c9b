"""The deployed system as the tests start it: each part can be hurt alone."""

import signal
import subprocess
import sys
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.deploy.conftest import settle
from tests.support.deployment import Deployment, main, new_folder
from tests.support.room_client import RoomClient
from tests.support.servers import ROOT, own_environment, wait_until


@pytest.fixture(scope="module")
def small(deployable):
    deployment = Deployment(new_folder(), daphnes=1)
    deployment.start()
    deployment.keys = settle(deployment)
    yield deployment
    deployment.stop()


def is_served(deployment):
    with suppress(httpx.TransportError):
        return httpx.get(deployment.url + "/accounts/login/").status_code == 200
    return False


def children_of(pid):
    return psutil.Process(pid).children(recursive=True)


def test_it_leaves_nothing_behind(deploy):
    small = deploy(daphnes=1)
    parts = [small.postgres, small.redis, small.nginx, *small.daphnes]
    pids = [part.process.pid for part in parts]
    processes = [psutil.Process(pid) for pid in pids]
    processes += [child for pid in pids for child in children_of(pid)]
    assert len(processes) > 8
    small.postgres.pause()
    small.daphnes[0].pause()
    small.stop()
    assert [process for process in processes if process.is_running()] == []
    assert not is_served(small)


def test_every_part_comes_back_after_kill(small):
    for part in (small.postgres, small.redis, small.nginx, *small.daphnes):
        part.kill()
        assert not part.is_running
        part.start()
        wait_until(lambda: is_served(small))
    cookies = {"sessionid": small.keys["ann"]}
    with httpx.Client(base_url=small.url, cookies=cookies) as ann:
        assert "lobby" in ann.get("/rooms/lobby/").text


async def test_postgres_is_paused_as_a_whole(small, lobby):
    async with RoomClient(small, lobby, small.keys["ann"]) as ann:
        await ann.say("before")
        small.postgres.pause()
        answer = await ann.post("meanwhile", key="one")
        assert answer["type"] != "ack"
        small.postgres.resume()
        await ann.say("after")


def test_one_starts_it_by_hand_and_stops_it_by_ctrl_c(deployable):
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.deployment"],
        cwd=ROOT,
        env=own_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = [process.stdout.readline() for _nth in range(3)]
        children = children_of(process.pid)
        assert len(children) > 10
        address = said[1].removeprefix("Rollcall is deployed: open ").strip()
        response = httpx.get(address, follow_redirects=True)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert response.status_code == 200
    assert process.returncode == 0
    assert rest == ""
    assert [child for child in children if child.is_running()] == []


def test_without_nginx_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tests.support.deployment.nginx_program", lambda: None)
    with pytest.raises(SystemExit, match="nginx is missing: apt-get install nginx"):
        main()

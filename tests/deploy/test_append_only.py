"""The role that serves can add to the log only: all of the chat works so, and what is
to be removed for good is removed by a role of its own."""

import re
import subprocess

import httpx
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.deploy.conftest import settle
from tests.support.deployment import Deployment, new_folder
from tests.support.room_client import RoomClient

AS_JSON = {"Accept": "application/json"}
MAKE_ADMIN = """
from django.test import Client
from accounts.models import User
from tests.support.fixtures import have_just_signed_in
root = User.objects.create_superuser("root", password="x")
client = Client()
client.force_login(root)
have_just_signed_in(client, root)
print(client.session.session_key)
"""
LONG_AGO = "UPDATE rooms_room SET deleted_at = now() - interval '31 days'"


@pytest.fixture(scope="module")
def house(deployable):
    deployment = Deployment(new_folder(), daphnes=1, ADMIN_SECOND_FACTOR="false")
    deployment.start()
    deployment.keys = settle(deployment)
    deployment.keys["root"] = deployment.manage(
        "shell", "-v0", "-c", MAKE_ADMIN
    ).split()[-1]
    yield deployment
    deployment.stop()


@pytest.fixture
def browse(house):
    """browse(name): their browser."""
    browsers = []

    def browse(name):
        cookies = {"sessionid": house.keys[name]}
        browsers.append(httpx.Client(base_url=house.url, cookies=cookies))
        browsers[-1].get("/rooms/")
        return browsers[-1]

    yield browse
    for browser in browsers:
        browser.close()


def post(browser, path, **fields):
    """What a form is answered; as JSON where it is an act of a room."""
    token = re.search(
        r'csrfmiddlewaretoken" value="(\w+)"', browser.get("/rooms/").text
    )
    headers = AS_JSON | {"X-CSRFToken": token[1], "Referer": str(browser.base_url)}
    return browser.post(path, data=fields, headers=headers)


def act(browser, room, name, **fields):
    answer = post(browser, f"/rooms/{room}/{name}/", **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["seq"]


def kinds(house, room):
    asked = (
        "SELECT kind FROM rooms_event JOIN rooms_room ON rooms_room.id = room_id"
        " WHERE slug = %s ORDER BY seq"
    )
    return [kind for (kind,) in house.postgres.execute(asked, room)]


def admin_act(browser, model, action, row, **fields):
    answer = post(
        browser, f"/admin/rooms/{model}/", action=action, _selected_action=row, **fields
    )
    page = f"/admin/rooms/{model}/"
    assert (answer.status_code, answer.headers["Location"]) == (302, page)


async def test_all_of_the_chat_works_by_adding(house, browse, lobby):
    ann, root = browse("ann"), browse("root")
    async with (
        RoomClient(house, lobby, house.keys["ann"]) as one,
        RoomClient(house, lobby, house.keys["bob"]) as two,
    ):
        await one.say("hello")
        await one.say("/me waves")
        await one.say("/topic Tea")
        act(ann, "lobby", "role", user="bob", role="moderator")
        clear = act(ann, "lobby", "clear", reason="noise")
        act(ann, "lobby", "restore", seq=clear)
        await one.say("/kick bob noise")
        assert await two.closed() == 4403
    [(room,)] = house.postgres.execute("SELECT id FROM rooms_room")
    admin_act(root, "room", "archive", room)
    admin_act(root, "room", "reopen", room)
    assert post(ann, "/rooms/new/", name="attic").status_code == 302
    act(ann, "attic", "topic", topic="Old things")
    act(ann, "attic", "delete")
    [(attic,)] = house.postgres.execute(
        "SELECT id FROM rooms_room WHERE slug = 'attic'"
    )
    admin_act(root, "room", "bring_back", attic)
    assert kinds(house, "attic") == ["join", "topic", "delete_room", "recover_room"]
    done = {"message", "topic", "role", "clear", "restore", "kick", "archive", "leave"}
    assert done < set(kinds(house, "lobby"))
    # A person of whom the log tells is not deleted, and neither is what they did.
    [(bob,)] = house.postgres.execute("SELECT id FROM accounts_user WHERE slug = 'bob'")
    before = kinds(house, "lobby")
    assert root.get(f"/admin/accounts/user/{bob}/delete/").status_code < 500
    assert (
        post(root, f"/admin/accounts/user/{bob}/delete/", post="yes").status_code < 500
    )
    assert kinds(house, "lobby") == before
    assert "0 faults" in house.manage("check_log", url=house.postgres.url)
    for daphne in house.daphnes:
        assert "permission denied" not in daphne.log
        assert "Traceback" not in daphne.log


def test_only_the_role_that_purges_removes_a_room(house, browse):
    ann = browse("ann")
    assert post(ann, "/rooms/new/", name="cellar").status_code == 302
    act(ann, "cellar", "topic", topic="Wine")
    act(ann, "cellar", "delete")
    house.postgres.execute(f"{LONG_AGO} WHERE slug = 'cellar'")
    before = kinds(house, "cellar")
    for options in ((), ("--yes",)):
        told = "1 rooms deleted more than 30 days ago, with 3 events"
        if options:
            with pytest.raises(subprocess.CalledProcessError) as refused:
                house.manage("purge", *options, url=house.postgres.url)
            assert "purge as the role rollcall_purge" in refused.value.stderr
        else:
            assert told in house.manage("purge", url=house.postgres.url)
        assert kinds(house, "cellar") == before
        assert told in house.manage("purge", url=house.postgres.purge_url)
    house.manage("purge", "--yes", url=house.postgres.purge_url)
    assert kinds(house, "cellar") == []
    assert "0 faults" in house.manage("check_log")
    assert post(ann, "/rooms/new/", name="cellar").status_code == 302


def test_purge_forgets_under_its_role_what_it_always_forgot(house):
    house.postgres.execute(
        "UPDATE rooms_visit SET settled = true, cause = 'lost',"
        " opened_at = now() - interval '1 year', closed_at = now() - interval '1 year'"
    )
    house.postgres.execute(
        "UPDATE accounts_securityrecord SET at = at - interval '1 year'"
    )
    house.manage("purge", "--yes", url=house.postgres.purge_url)
    for table in ("rooms_visit", "accounts_securityrecord"):
        assert house.postgres.execute(f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_restore_leaves_the_log_as_safe_as_it_was(house, tmp_path):
    file = str(tmp_path / "chat.backup")
    house.manage("backup", file, url=house.postgres.url)
    house.postgres.execute("GRANT UPDATE, DELETE ON rooms_event TO rollcall")
    house.manage("restore", file, "--yes")
    with psycopg.connect(house.postgres.url) as chat:
        assert chat.execute("SELECT count(*) FROM rooms_event").fetchone()
        with pytest.raises(InsufficientPrivilege):
            chat.execute("UPDATE rooms_event SET seq = seq")

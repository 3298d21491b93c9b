"""What an operator can mend is told in one sentence, and never in a traceback."""

import ast
import errno
import shutil
import socket
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connection

from config.problems import explain
from tests.conftest import database_url
from tests.support.servers import ROOT, own_environment

KEY = "k" * 50
NOBODY = "postgres://me:hush@127.0.0.1:1/chat"
HTTPS = "https://chat.example.org"

BAD = {
    "port is no number": ({"PORT": "abc"}, "PORT"),
    "port is too high": ({"PORT": "70000"}, "PORT"),
    "port is zero": ({"PORT": "0"}, "PORT"),
    "switch is no switch": ({"DEBUG": "maybe"}, "DEBUG"),
    "no such form of the log": ({"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    "host does not exist": ({"HOST": "nowhere.invalid"}, "HOST"),
    "host is not ours": ({"HOST": "192.0.2.1"}, "HOST"),
    "all hosts, but no address": ({"HOST": "0.0.0.0"}, "PUBLIC_URL"),
    "all IPv6 hosts, but no address": ({"HOST": "::"}, "PUBLIC_URL"),
    "all hosts, written otherwise": ({"HOST": "0"}, "PUBLIC_URL"),
    "all IPv6 hosts, written otherwise": ({"HOST": "0:0::0"}, "PUBLIC_URL"),
    "host with a port": ({"HOST": "127.0.0.1:8000"}, "HOST"),
    "host with a scheme": ({"HOST": "http://127.0.0.1"}, "HOST"),
    "debugging in public": (
        {"DEBUG": "true", "PUBLIC_URL": "http://chat.example.org"},
        "DEBUG",
    ),
    "debugging before others": ({"DEBUG": "true", "HOST": "192.0.2.1"}, "DEBUG"),
    "file of settings that is not there": ({"ENV_FILE": "/nowhere.env"}, "/nowhere"),
    "file of settings that is none": ({"ENV_FILE": sys.executable}, "no text"),
    "address has no scheme": ({"PUBLIC_URL": "chat.example.org"}, "PUBLIC_URL"),
    "address has another scheme": ({"PUBLIC_URL": "ftp://x"}, "PUBLIC_URL"),
    "address has a path": ({"PUBLIC_URL": f"{HTTPS}/chat"}, "PUBLIC_URL"),
    "address has a bad port": ({"PUBLIC_URL": f"{HTTPS}:x"}, "PUBLIC_URL"),
    "address is encrypted by nobody": ({"PUBLIC_URL": HTTPS}, "TRUST_PROXY"),
    "database is no URL": ({"DATABASE_URL": "chat", "SECRET_KEY": KEY}, "DATABASE_URL"),
    "database of another kind": (
        {"DATABASE_URL": "mysql://me:hush@host/chat", "SECRET_KEY": KEY},
        "DATABASE_URL",
    ),
    "database has no name": (
        {"DATABASE_URL": "postgres://me:hush@host", "SECRET_KEY": KEY},
        "DATABASE_URL",
    ),
    "database has a bad port": (
        {"DATABASE_URL": "postgres://me:hush@host:x/chat", "SECRET_KEY": KEY},
        "DATABASE_URL",
    ),
    "database without a key": ({"DATABASE_URL": NOBODY}, "SECRET_KEY"),
    "key is too short": ({"SECRET_KEY": "hush"}, "SECRET_KEY"),
    "database is not there": (
        {"DATABASE_URL": NOBODY, "SECRET_KEY": KEY},
        "DATABASE_URL",
    ),
    "Redis of another kind": ({"REDIS_URL": "http://:hush@host"}, "REDIS_URL"),
    "Redis has a bad port": ({"REDIS_URL": "redis://:hush@host:x"}, "REDIS_URL"),
    "mail server of another kind": ({"EMAIL_URL": "imap://:hush@host"}, "EMAIL_URL"),
    "letters are printed in public": (
        {"EMAIL_URL": "consolemail://", "PUBLIC_URL": "http://chat.example.org"},
        "EMAIL_URL",
    ),
    "mail server has a bad port": ({"EMAIL_URL": "smtp://:hush@host:x"}, "EMAIL_URL"),
    "var cannot be made": ({"VAR_DIR": "/proc/rollcall"}, "VAR_DIR"),
    "var is a file": ({"VAR_DIR": "/etc/passwd"}, "VAR_DIR"),
}


def manage(*words, python=(sys.executable,), **environment):
    return subprocess.run(
        [*python, "manage.py", *words],
        cwd=ROOT,
        env=own_environment(**environment),
        capture_output=True,
        text=True,
        timeout=30,
    )


def assert_told(done, word):
    """Refused, in one sentence with that word in it, and without any password."""
    assert done.returncode not in (0, None)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith((".", "run"))
    assert word in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.parametrize(("environment", "word"), BAD.values(), ids=BAD)
def test_a_bad_setting_is_named(environment, word):
    assert_told(manage("serve", **environment), word)


@pytest.mark.parametrize("command", ["migrate", "check", "createsuperuser"])
def test_by_every_command(command):
    assert_told(manage(command, PORT="abc"), "PORT")


def test_a_taken_port_is_told_before_anything_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = manage("serve", PORT=port, VAR_DIR=tmp_path)
    assert_told(done, f"Port {port}")
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_that_says_nothing_is_not_waited_for(command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://me:hush@127.0.0.1:{silent.getsockname()[1]}/chat"
        done = manage(command, DATABASE_URL=url, SECRET_KEY=KEY)
    assert_told(done, "timeout")


def test_a_database_that_does_not_exist_is_named(transactional_db):
    url = database_url().replace(connection.settings_dict["NAME"], "elsewhere")
    done = manage("migrate", DATABASE_URL=url, SECRET_KEY=KEY)
    assert_told(done, 'database "elsewhere" does not exist')


def test_tables_that_are_missing_are_told(transactional_db):
    url = database_url().replace(connection.settings_dict["NAME"], "postgres")
    code = "from accounts.models import User; User.objects.get(pk=1)"
    done = manage("shell", "-v0", "-c", code, DATABASE_URL=url, SECRET_KEY=KEY)
    assert_told(done, "manage.py migrate")


# Errors of the system --------------------------------------------------------------

ELSEWHERE = "/elsewhere/file"
ERRORS = {
    "full": (OSError(errno.ENOSPC, "No space left on device"), "no room left"),
    "too many": (OSError(errno.EDQUOT, "Disk quota exceeded", ELSEWHERE), ELSEWHERE),
    "read-only": (OSError(errno.EROFS, "Read-only file system", ELSEWHERE), "mount"),
    "files": (OSError(errno.EMFILE, "Too many open files", ELSEWHERE), "ulimit"),
    "missing": (FileNotFoundError(errno.ENOENT, "No such file", ELSEWHERE), ELSEWHERE),
    "closed": (PermissionError(errno.EACCES, "Permission denied", ELSEWHERE), "denied"),
    "bytes": (PermissionError(errno.EACCES, "Permission denied", b"/\xff"), "denied"),
}


@pytest.mark.parametrize(("error", "words"), ERRORS.values(), ids=ERRORS)
def test_an_error_of_the_system_is_told_as_what_it_is(error, words):
    assert words in explain(error)
    assert "VAR_DIR" not in explain(error)


def test_where_var_dir_is_the_matter_it_is_named():
    path = str(settings.VAR_DIR / "postgres.lock")
    sentence = explain(PermissionError(errno.EACCES, "Permission denied", path))
    assert path in sentence
    assert "VAR_DIR" in sentence


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "refused"), OSError("odd"), BrokenPipeError()]
)
def test_what_is_no_matter_of_files_has_its_traceback(error):
    assert explain(error) is None


def test_a_file_that_a_command_does_not_find_is_no_matter_of_var_dir():
    done = manage("restore", "/nowhere.zip")
    assert_told(done, "/nowhere.zip")
    assert "VAR_DIR" not in done.stderr


def test_an_old_python_is_told():
    ast.parse((ROOT / "manage.py").read_text(), feature_version=(3, 4))


def test_a_python_without_django_is_told():
    assert_told(manage("check", python=[sys.executable, "-S"]), "make run")


def test_make_refuses_an_old_python(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    command = ["make", "run", "PYTHON=false"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "Rollcall needs Python 3.11 or newer" in done.stderr
    assert done.returncode
    assert not (tmp_path / ".venv").exists()

"""Making, starting and stopping the embedded PostgreSQL."""

import os
import shlex
import shutil
import socket
import subprocess
import sys

from django.core.exceptions import ImproperlyConfigured

from config.embedded import places

NAME = "rollcall"  # of the database, and of the role that owns it

MAKE_DATABASE = f"""\
CREATE ROLE {NAME} LOGIN CREATEDB;
CREATE DATABASE {NAME} OWNER {NAME};
"""
LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Statements and rows hold what people wrote; the log must not.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def is_up(var):
    """Whether a server listens. It is ours: `places.check` lets nobody else in."""
    with socket.socket(socket.AF_UNIX) as client:
        path = places.socket_folder(var) / ".s.PGSQL.5432"
        return client.connect_ex(str(path)) == 0


def start(var):
    data, sockets = places.data(var), places.socket_folder(var)
    if not data.exists():
        make(data)
    if not sockets.exists():
        places.make_private_folder(sockets)
    places.check(var)
    options = OPTIONS | {"unix_socket_directories": str(sockets)}
    words = [f"-c {name}={shlex.quote(value)}" for name, value in options.items()]
    log = data / "server.log"
    try:
        control(var, "start", "-l", log, "-o", " ".join(words))
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"{error} Its log is {log}.") from error
    if data.parent != var:
        print(f"{var} is closed to others, so the data is in {data}.", file=sys.stderr)


def stop(var):
    if is_up(var):
        control(var, "stop", "-m", "fast")
    sockets = places.socket_folder(var)
    if sockets != places.data(var):
        shutil.rmtree(sockets, ignore_errors=True)


def control(var, act, *options):
    run("pg_ctl", "-w", "-s", "-D", places.data(var), act, *options)


def make(data):
    """Make the database aside and move it into place: half a one is never used."""
    draft = data.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    places.make_private_folder(draft)
    run("initdb", "-D", draft, "-U", "postgres", "-A", "trust", "-E", "UTF8", *LOCALE)
    run("postgres", "--single", "-D", draft, "postgres", typed=MAKE_DATABASE)
    draft.rename(data)


def run(program, *arguments, typed=""):
    done = subprocess.run(
        [places.programs() / program, *arguments],
        input=typed,
        capture_output=True,
        text=True,
        cwd="/",
        # Without the caller's PGPORT and the like, and out of the reach of its Ctrl-C.
        env={"PATH": os.defpath, "LC_ALL": "C"},
        start_new_session=True,
        **places.account(),
    )
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"{program} gave {done.returncode}"
        raise ImproperlyConfigured(f"The embedded PostgreSQL does not work: {reason}")

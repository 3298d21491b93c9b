"""What the benchmark plays on: PostgreSQL, Redis and servers of its own, on free ports,
with people who are signed in and rooms they are members of."""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import Session, User
from accounts.sessions import SessionStore
from config import embedded
from rooms.models import Membership, Room
from tests.support.servers import Redis, Rollcall

LOAD = Path(__file__).parent / "load.py"


class Stage:
    """The database with its people and rooms, and Redis; servers come and go."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="rollcall-bench-")
        embedded.use(settings.VAR_DIR)
        call_command("migrate", verbosity=0, interactive=False)
        from config.server import static

        static.collect()
        self.redis = Redis("redis-server", self.folder).start()
        self.people, self.cookies = [], []

    def close(self):
        self.redis.kill()

    @contextmanager
    def superuser(self):
        """A cursor of PostgreSQL's own superuser, each statement for itself."""
        host = connection.settings_dict["HOST"]
        name = connection.settings_dict["NAME"]
        with psycopg.connect(
            host=host, user="postgres", dbname=name, autocommit=True
        ) as line:
            yield line.cursor()

    def people_in(self, count):
        """At least so many people, each signed in."""
        missing = range(len(self.people), count)
        new = User.objects.bulk_create(
            User(username=f"person{number}", password="!") for number in missing
        )
        self.people += new
        self.cookies += [
            f"{settings.SESSION_COOKIE_NAME}={key}" for key in sessions(new)
        ]
        return self.people[:count]

    def room(self, name, people):
        """A room with these members; the same if it is there."""
        room = Room.objects.filter(slug=name).first()
        room = room or Room.objects.create_with_owner(name, people[0], by_operator=True)
        Membership.objects.bulk_create(
            [Membership(room=room, user=person) for person in people],
            ignore_conflicts=True,
        )
        return room

    def sockets(self, slug, count):
        """Whose sockets a load opens, and where: the first people, in one room."""
        return {
            "paths": [f"/ws/rooms/{slug}/"] * count,
            "cookies": self.cookies[:count],
        }

    @contextmanager
    def servers(self, count=1, kind=Rollcall, **environment):
        """So many server processes, ready."""
        host = connection.settings_dict["HOST"]
        user, name = connection.settings_dict["USER"], connection.settings_dict["NAME"]
        own = {
            "DATABASE_URL": f"postgres://{user}@/{name}?host={host}",
            "SECRET_KEY": settings.SECRET_KEY,
            "REDIS_URL": self.redis.url,
            "FRAMES_PER_SECOND": 10_000,
            **environment,
        }
        with ExitStack() as stack:
            started = []
            for _nth in range(count):
                server = kind(self.folder, **own).start()
                stack.callback(server.stop)
                started.append(server)
            yield started


def sessions(people):
    """A session key of each, as signing in would make it."""
    until = timezone.now() + timezone.timedelta(days=1)
    store, made = SessionStore(), []
    keys = [store._get_new_session_key() for _person in people]
    for person, key in zip(people, keys, strict=True):
        data = {
            SESSION_KEY: str(person.pk),
            BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
            HASH_SESSION_KEY: person.get_session_auth_hash(),
        }
        made.append(
            Session(
                session_key=Session.hash_of(key),
                session_data=store.encode(data),
                expire_date=until,
                user=person,
            )
        )
    Session.objects.bulk_create(made)
    return keys


def load(**plan):
    """Run the load generator in a process of its own; its report."""
    done = subprocess.run(
        [sys.executable, str(LOAD)],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=plan.get("seconds", 5) + 180,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)

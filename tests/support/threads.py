"""Several things at once, in threads against the real PostgreSQL."""

import threading

from django.db import connection

from tests.support.servers import wait_until


def at_once(work, *arguments):
    """Run `work(argument)` for each in a thread of its own; the threads, started."""

    def run(argument):
        try:
            work(argument)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[one]) for one in arguments]
    for thread in threads:
        thread.start()
    return threads


def wait_for_locks(count):
    """Until so many transactions wait for another's lock."""

    def waiting():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0] >= count

    wait_until(waiting)

"""A server that tells what is inside it.

It is `manage.py serve`, which at a signal writes its numbers to a file. The faults of
Twisted, which Daphne throws away, go to its log; and what is kept for a while after
people have gone (KEEP_IDLE) can be kept shorter.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.support.servers import Rollcall, wait_until

ASK = signal.SIGUSR1


class InstrumentedServer(Rollcall):
    """A Rollcall that can be asked what is inside it."""

    def __init__(self, folder, *options, **environment):
        self._told = Path(folder) / "told.json"
        super().__init__(folder, *options, NUMBERS_FILE=self._told, **environment)
        self.command[2:3] = ["-m", "tests.support.instrumented_server"]

    def is_ready(self):
        """With all that it says at its start."""
        return "Ctrl-C stops it." in self.log.removeprefix(self.log_before)

    def tell(self):
        """{"tasks", "sockets" …: numbers, "objects": {type: how many}}."""
        self._told.unlink(missing_ok=True)
        self.process.send_signal(ASK)
        return json.loads(wait_until(self._read))

    def _read(self):
        return self._told.exists() and self._told.read_text()


def main(prepare=lambda: None):
    """As manage.py does it; `prepare` is called when the apps are loaded."""
    import django
    from django.core.management import execute_from_command_line

    from config.server import loop

    loop.install()
    django.setup()
    prepare()

    from messaging.live import hub

    hub.KEEP_IDLE = float(os.environ.get("KEEP_IDLE", hub.KEEP_IDLE))
    listen_to_twisted()
    signal.signal(ASK, lambda number, frame: write(Path(os.environ["NUMBERS_FILE"])))
    execute_from_command_line(sys.argv)


def write(path):
    """Whole, or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(inside()))
    draft.rename(path)


def inside():
    """What this server process keeps."""
    from messaging.live import background, runtime

    live = runtime.current()
    gc.collect()
    objects = Counter(type(one).__qualname__ for one in gc.get_objects())
    return {
        "tasks": len(asyncio.all_tasks(live.loop)) - len(live.hub.feeds),
        "sockets": len(live.hub.sockets),
        "signed-in browsers": len(live.hub._by_session),
        "feeds": len(live.hub.feeds),
        "requests waiting": live.writer.waiting,
        "work in background": len(background.running),
        "buckets": len(live.buckets),
        "connections": objects["Socket"] + objects["WebRequest"],
        "objects": dict(objects.most_common(60)),
    }


def listen_to_twisted():
    from twisted.logger import globalLogPublisher

    def hear(event):
        if failure := event.get("log_failure"):
            logging.getLogger("twisted").error(
                "unhandled",
                exc_info=(failure.type, failure.value, failure.getTracebackObject()),
            )

    globalLogPublisher.addObserver(hear)


if __name__ == "__main__":
    main()

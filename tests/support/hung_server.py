"""A server with a thread that never comes back, once it is told to:
`python -m tests.support.hung_server FAULT serve`."""

import re
import signal
import sys
import threading
import time

from tests.support import instrumented_server
from tests.support.instrumented_server import InstrumentedServer
from tests.support.servers import wait_until

NOW = signal.SIGUSR2


class HungServer(InstrumentedServer):
    """An InstrumentedServer with the fault of that name."""

    def __init__(self, folder, fault, **environment):
        super().__init__(folder, **environment)
        self.command[2:4] = ["-m", "tests.support.hung_server", fault]

    def get_stuck(self):
        self.process.send_signal(NOW)
        wait_until(lambda: "stuck" in self.log)


def a_thread_waits():
    """As for a database that never answers."""
    threading.Thread(target=threading.Event().wait).start()


def a_thread_holds_the_interpreter():
    """As a regular expression does that goes back and forth."""
    threading.Thread(target=re.match, args=(r"(a+)+b", "a" * 60)).start()


def the_loop_stands_still():
    while True:
        time.sleep(1)


FAULTS = {
    one.__name__: one
    for one in (a_thread_waits, a_thread_holds_the_interpreter, the_loop_stands_still)
}


def prepare():
    from config.server import last_resort

    last_resort.END_WITHIN = 4
    last_resort.MAX_CPU = 3
    signal.signal(NOW, lambda number, frame: get_stuck())


def get_stuck():
    print("stuck", flush=True)
    FAULTS[fault]()


if __name__ == "__main__":
    fault = sys.argv.pop(1)
    instrumented_server.main(prepare)

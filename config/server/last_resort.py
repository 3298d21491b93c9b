"""How a process ends when a thread of it does not come back.

A signal to stop begins a drain, which has its bounds; but at the very end Python waits
for all threads, and one may wait for ever for a database, or be in an endless loop.
"""

import faulthandler
import signal

from twisted.internet.task import LoopingCall

END_WITHIN = 32  # seconds after a signal; a drain takes 20, service managers give 40
MAX_CPU = 20  # seconds of processor time in which the loop does not turn once
LOOK_EVERY = 1  # seconds


def stand_by() -> None:
    """To be called in the main thread, when the reactor runs and heeds signals."""
    LoopingCall(_say_the_loop_turns).start(LOOK_EVERY)
    for number in (signal.SIGTERM, signal.SIGINT):
        # A shell has what it starts in the background ignore Ctrl-C.
        if callable(handler := signal.getsignal(number)):
            signal.signal(number, _ending_in_time(handler))


def _say_the_loop_turns() -> None:
    """A thread that is in C code and holds the interpreter (a regular expression, say)
    lets no Python run: no drain, no handler of a signal. So the kernel counts, and ends
    the process with SIGPROF. It counts the time of processors, not of the clock: else
    it would end what was only frozen for a while."""
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU)


def _ending_in_time(handler):
    def handle(number, frame) -> None:
        # Its own thread needs no interpreter: it writes where each thread is, and ends
        # the process with 1. The clock starts with the first signal.
        faulthandler.dump_traceback_later(END_WITHIN, exit=True)
        signal.signal(number, handler)
        handler(number, frame)

    return handle

"""The processes that render: `python -m messaging.rendering.worker`, without Django.

The one that is started loads all that rendering takes, and then forks a worker for each
socket that it is handed over its standard input. So a worker is there in a few
milliseconds, and shares most of its memory with the others. It has one thread, so that
forking is safe.

A worker reads a text and answers with its HTML, again and again, until its socket ends.
A text that takes too much of the processor's time costs it its life, by an alarm of the
kernel's: no Python has to run for that, and no server has to be alive to send a signal.
"""

import gc
import os
import resource
import signal
import socket
from contextlib import suppress
from select import select

from messaging.rendering import DEADLINE, SIZE, STUCK_AFTER
from messaging.rendering.languages import LANGUAGES, lexer_of
from messaging.rendering.markdown import to_html

NICE = 5  # the server's event loop comes first
MAX_MEMORY = 160 * 1024 * 1024  # bytes of address space; 35 MB are used


def main() -> None:
    limit()
    serve(socket.socket(fileno=0))


def limit() -> None:
    """Take little. (What a service manager forbids to set, it limits by itself.)"""
    with suppress(OSError, ValueError):
        os.nice(NICE)
    for what, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def serve(control) -> None:
    """Fork a worker for each socket that comes over `control`, until that ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    for_later = list(LANGUAGES)
    while True:
        if for_later and not select([control], [], [], 0)[0]:
            lexer_of(for_later.pop())  # when a text names it, there is less time
            continue
        asked, handed, _flags, _address = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        (descriptor,) = handed
        gc.freeze()  # or the collector would write to, and so copy, what is shared
        if os.fork() == 0:
            control.close()
            work(socket.socket(fileno=descriptor))
        os.close(descriptor)


def work(connection) -> None:
    """Be a worker. Never returns."""
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)
    try:
        answer(connection, "")  # ready
        while (body := receive(connection)) is not None:
            answer(connection, within_deadline(body))
    except OSError:
        pass  # the server is gone
    finally:
        os._exit(0)


def within_deadline(body):
    """Its HTML; "" if rendering raised something. Or the end of the process."""
    alarms(DEADLINE, 2 * STUCK_AFTER)  # the second one after the server gave us up
    try:
        return to_html(body)
    except Exception:  # not logged: it would quote the text
        return ""
    finally:
        alarms(0, 0)


def alarms(processor, clock) -> None:
    """Be ended after so many seconds; 0: not at all."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, clock)


def receive(connection):
    """The next text; None at the end."""
    head = read(connection, SIZE.size)
    return head and read(connection, *SIZE.unpack(head)).decode()


def read(connection, size):
    """So many bytes; None at the end."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return None
        data += more
    return data


def answer(connection, html) -> None:
    encoded = html.encode()
    connection.sendall(SIZE.pack(len(encoded)) + encoded)


if __name__ == "__main__":
    main()

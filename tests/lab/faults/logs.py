"""What the processes wrote that nobody should have to read."""

import re

from tests.lab.faults.site import STORES

# An error, an exception nobody caught, a stop that took too long, a hole in a log.
UNFORESEEN = re.compile(
    r"ERROR|CRITICAL|Traceback|[Uu]nhandled|took too long|has a hole"
    r"|\[(?:emerg|alert|crit)\]"
)
# What a process rightly says of itself when it was hurt.
FORESEEN = re.compile(
    r"declared dead; starting anew"  # frozen for longer than its time to live
    r"|connect\(\) to unix:"  # Nginx tries another where one has gone
    r"|setrlimit"  # the machine allows Nginx fewer descriptors than it asks for
    # A frozen Daphne does not take its socket's queue; Nginx's workers were killed.
    r"|open socket .* left in connection"
)


def tell(site, history):
    """Tell the history each unforeseen line. (What PostgreSQL and Redis say when they
    are hurt is theirs.)"""
    ours = {name: one for name, one in site.processes.items() if name not in STORES}
    for name, process in ours.items():
        tell_of(name, process, history)


def tell_of(name, process, history):
    for line in process.log_path.read_text(errors="replace").splitlines():
        if UNFORESEEN.search(line) and not FORESEEN.search(line):
            history.tell("log", process=name, line=line[:500])

#!/usr/bin/env python3
"""Rollcall's command line. What its operator can mend is told in one sentence."""

import os
import signal
import sys


def main():
    if sys.version_info < (3, 11):  # noqa: UP036  this is what tells it
        sys.exit("Rollcall needs Python 3.11 or newer: make PYTHON=python3.11 run")
    try:
        from config.problems import explain
    except ImportError:
        sys.exit("Django is missing here: use `make run`, or .venv/bin/python.")
    try:
        run(sys.argv)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        sys.exit(sentence)


def run(words):
    from django.conf import settings
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # An ordinary exit, so that the embedded PostgreSQL is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    settings.INSTALLED_APPS  # noqa: B018  a bad setting speaks up before the command
    if words[1:2] == ["serve"]:
        from config.server import loop

        loop.install()
    execute_from_command_line(words)


if __name__ == "__main__":
    main()

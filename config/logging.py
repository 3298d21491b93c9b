"""One line for each event in the log, and nothing of what people wrote."""

import json
import logging
import re
import time
import traceback
from datetime import UTC, datetime

import psycopg
from django.db import DatabaseError

from config.problems import is_outage

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# PostgreSQL puts the row, and so people's words, below the first line of an error. In
# the repr of an error, which messages hold, the line's end is two characters.
MAX_TEXT = 500  # characters of one error's text
MAX_CAUSES = 5
MAX_PLACES = 30  # frames of one error
A_MINUTE = 60  # seconds
ROW = re.compile(r"(?:\n|\\n)\s*(?:DETAIL|CONTEXT|HINT|QUERY|LINE \d+): .*", re.S)


class OneLineFormatter(logging.Formatter):
    """For people: `format` as given, one line an event."""

    def format(self, record):
        line = super().format(record)
        return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], line)

    def formatMessage(self, record):
        return without_row(super().formatMessage(record))

    def formatException(self, exc_info):
        _kind, error, _trace = exc_info
        text = f"{str(error).partition(chr(10))[0][:MAX_TEXT]}{places(error)}"
        told = [f"{type(error).__name__}: {text}"]
        for word, cause in causes(error):
            told.append(f"{word} {type(cause).__name__}{safe_text(cause)}")
            told[-1] += places(cause)
        return "; ".join(told)


def causes(error):
    """What led to an error: ("caused by" or "while handling", error), nearest first.

    At most MAX_CAUSES: an attempt that is repeated hangs each failure on the last.
    """
    seen = {id(error)}
    for _nth in range(MAX_CAUSES):
        word, cause = "caused by", error.__cause__
        if cause is None and not error.__suppress_context__:
            word, cause = "while handling", error.__context__
        if cause is None or id(cause) in seen:
            return
        yield word, cause
        seen.add(id(cause))
        error = cause


def safe_text(error):
    """The first line of what a program said. Other errors that were handled on the way
    are often about what somebody wrote (as of `int(text)`): their place has to do."""
    if isinstance(error, OSError | DatabaseError | psycopg.Error):
        return f": {str(error).partition(chr(10))[0][:MAX_TEXT]}"
    return ""


def places(error):
    """Where it went wrong, the innermost first; of a deep recursion the last few."""
    frames = traceback.extract_tb(error.__traceback__, limit=-MAX_PLACES)
    return "".join(
        f" <- {frame.filename}:{frame.lineno} {frame.name}"
        for frame in reversed(frames)
    )


class JSONFormatter(OneLineFormatter):
    """For machines: one JSON object an event, with `time` (UTC, ISO 8601), `level`,
    `logger`, `message` and, of an error, `exception`. A security record brings its
    facts as further fields: `kind`, `user`, `name`, `address`, `detail`."""

    def format(self, record):
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_row(record.getMessage()),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False)
        return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class OutageFilter(logging.Filter):
    """A database that is away is no fault of the page that was asked for: a warning."""

    def filter(self, record):
        error = record.exc_info and record.exc_info[1]
        if is_outage(error):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg, record.args = "%s: %s", (record.getMessage(), error)
            record.exc_info = None
        return True


class RefusalFilter(logging.Filter):
    """Django's word on a request that it refused (`django.security`): which check did
    it, and for what address. What the stranger sent stays out."""

    def filter(self, record):
        if record.name.startswith("django.security"):
            check = record.name.rpartition(".")[2]
            request = getattr(record, "request", None)
            address = request and request.META.get("REMOTE_ADDR")
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg = "A request of %s was refused: %s"
            record.args = (address, check)
            record.exc_info = record.exc_text = None
            record.facts = {"kind": "refused", "address": address, "detail": check}
        return True


class FewFilter(logging.Filter):
    """For lines whose number strangers decide: at most `most` a minute of each logger
    and level. The next one then tells how many were left out."""

    def __init__(self, most):
        super().__init__()
        self._most = most
        self._counts = {}  # {(logger, level): [the minute, lines in it, left out]}

    def filter(self, record):
        minute = time.monotonic() // A_MINUTE
        key = record.name, record.levelno
        count = self._counts.setdefault(key, [minute, 0, 0])
        if count[0] != minute:
            count[:2] = minute, 0
        if count[1] >= self._most:
            count[2] += 1
            return False
        count[1] += 1
        if count[2]:
            left_out, count[2] = count[2], 0
            record.msg = f"{record.getMessage()} ({left_out} more were left out)"
            record.args = ()
        return True


def without_row(text):
    return ROW.sub("", text)

"""One line for each event in the log, and nothing of what people wrote."""

import json
import logging
import re
import traceback
from datetime import UTC, datetime

from config.problems import is_outage

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# PostgreSQL puts the row, and so people's words, below the first line of an error. In
# the repr of an error, which messages hold, the line's end is two characters.
ROW = re.compile(r"(?:\n|\\n)\s*(?:DETAIL|CONTEXT|HINT|QUERY|LINE \d+): .*", re.S)


class OneLineFormatter(logging.Formatter):
    """For people: `format` as given, one line an event."""

    def format(self, record):
        line = super().format(record)
        return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], line)

    def formatMessage(self, record):  # noqa: N802
        return without_row(super().formatMessage(record))

    def formatException(self, exc_info):  # noqa: N802
        kind, error, trace = exc_info
        text = str(error).partition("\n")[0]
        places = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(trace)
        ]
        return f"{kind.__name__}: {text} <- {' <- '.join(reversed(places))}"


class JSONFormatter(OneLineFormatter):
    """For machines: one JSON object an event, with `time` (UTC, ISO 8601), `level`,
    `logger`, `message` and, of an error, `exception`."""

    def format(self, record):
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_row(record.getMessage()),
        }
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


def without_row(text):
    return ROW.sub("", text)

"""One line for each event in the log, and nothing of what people wrote."""

import logging
import re
import traceback

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class OneLineFormatter(logging.Formatter):
    def format(self, record):
        line = super().format(record)
        return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], line)

    def formatException(self, exc_info):  # noqa: N802
        kind, error, trace = exc_info
        # PostgreSQL puts the row, and so people's words, below its first line.
        text = str(error).partition("\n")[0]
        places = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(trace)
        ]
        return f"{kind.__name__}: {text} <- {' <- '.join(reversed(places))}"

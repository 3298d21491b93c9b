"""What can go wrong on an operator's machine, in one sentence each."""

import errno
import os
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import (
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from psycopg.errors import UndefinedColumn, UndefinedTable

FULL = errno.ENOSPC, errno.EDQUOT


def explain(error):
    """The sentence that says what to change; None where only a traceback helps."""
    match error:
        case ImproperlyConfigured() | NotSupportedError():
            return str(error)
        case OperationalError() if is_about_connecting(error):
            return explain_unreachable(error)
        case ProgrammingError(__cause__=UndefinedTable() | UndefinedColumn()):
            return "The database lacks this version's tables: run manage.py migrate."
        case OSError(errno=number) if number in FULL:
            return f"There is no room left on the disk{place(error)}: make some."
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return "Too many files are open: raise the limit (ulimit -n)."
        case OSError(errno=errno.EROFS):
            return f"The disk can only be read{place(error)}: mount it for writing."
        case OSError(filename=str() | bytes(), strerror=str(reason)):
            return f"A file cannot be used{place(error)}: {reason}.{remedy(error)}"


def place(error):
    return f" ({os.fsdecode(error.filename)})" if error.filename else ""


def remedy(error):
    """What to change, where it is a matter of a setting."""
    path = Path(os.fsdecode(error.filename)).absolute()
    is_ours = settings.configured and path.is_relative_to(settings.VAR_DIR)
    return " Give it to who starts Rollcall, or change VAR_DIR." if is_ours else ""


def is_outage(error):
    """Whether the database did not answer, or not in time. (InternalError: it ended a
    transaction in which this process stood still.)"""
    return isinstance(error, (InterfaceError, InternalError, OperationalError))


def is_about_connecting(error):
    return getattr(error.__cause__, "sqlstate", None) is None


def explain_unreachable(error):
    reason = str(error).splitlines()[0].removeprefix("connection failed: ")
    return f"PostgreSQL lets nobody in ({reason}): start it, or change DATABASE_URL."

"""What can go wrong on an operator's machine, in one sentence each."""

from django.core.exceptions import ImproperlyConfigured
from django.db import (
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from psycopg.errors import UndefinedColumn, UndefinedTable


def explain(error):
    """The sentence that says what to change; None where only a traceback helps."""
    match error:
        case ImproperlyConfigured() | NotSupportedError():
            return str(error)
        case OperationalError() if is_about_connecting(error):
            return explain_unreachable(error)
        case ProgrammingError(__cause__=UndefinedTable() | UndefinedColumn()):
            return "The database lacks this version's tables: run manage.py migrate."
        case OSError(filename=str(name), strerror=reason):
            return f"{name} cannot be used ({reason}): mend it, or change VAR_DIR."


def is_outage(error):
    """Whether the database did not answer, or not in time. (InternalError: it ended a
    transaction in which this process stood still.)"""
    return isinstance(error, (InterfaceError, InternalError, OperationalError))


def is_about_connecting(error):
    return getattr(error.__cause__, "sqlstate", None) is None


def explain_unreachable(error):
    reason = str(error).splitlines()[0].removeprefix("connection failed: ")
    return f"PostgreSQL lets nobody in ({reason}): start it, or change DATABASE_URL."

"""Where a server can be found: a TCP port, or a unix socket behind Nginx.

A listener is claimed when it is made, so that a taken one is told before anything has
been started. Connections come in when there is somebody to answer: listen().
"""

import errno
import os
import socket
from contextlib import contextmanager, suppress

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from twisted.internet import reactor

BACKLOG = 2048  # after a restart everybody comes back at once


class TCPPort:
    """That of HOST and PORT."""

    def __init__(self) -> None:
        place = settings.HOST, settings.PORT
        with explaining():
            family, *_, address = socket.getaddrinfo(*place, 0, socket.SOCK_STREAM)[0]
            self.socket = socket.socket(family)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(address)

    def __str__(self):
        return settings.ORIGINS[0]

    def listen(self, factory) -> None:
        with explaining():
            self.socket.listen(BACKLOG)
        self.socket.setblocking(False)  # Twisted takes it for granted
        self.port = reactor.adoptStreamPort(
            self.socket.fileno(), self.socket.family, factory
        )

    def close(self) -> None:
        """Take no more connections; a proxy sends them elsewhere."""
        self.port.stopListening()
        self.socket.close()  # Twisted's is a copy


@contextmanager
def explaining():
    host, port = settings.HOST, settings.PORT
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"Port {port} is taken: stop what runs there, or change PORT."
        else:
            advice = f"{host} cannot be used ({error.strerror}): change HOST or PORT."
        raise ImproperlyConfigured(advice) from error


class UnixSocket:
    """A path, for its owner and group."""

    def __init__(self, path):
        self.path = path
        if self.is_answering():
            raise ImproperlyConfigured(f"Another server runs at {path}: stop it first.")
        with suppress(FileNotFoundError):
            os.unlink(path)  # a killed server left it

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def is_answering(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(self.path) == 0

    def listen(self, factory) -> None:
        self.port = reactor.listenUNIX(self.path, factory, BACKLOG, mode=0o660)

    def close(self) -> None:
        self.port.stopListening()

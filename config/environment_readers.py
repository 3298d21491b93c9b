"""Typed readers of environment variables. A bad value is told in one sentence."""

import socket
from contextlib import contextmanager, suppress
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

USUAL_PORTS = {"http": 80, "https": 443}


class Environment(environ.Env):
    """A variable that is empty counts as not set."""

    def read_file(self, named, usual):
        """Take the variables of the named file, else of the usual one where it is."""
        try:
            if named or Path(usual).exists():
                self.read_env(StringIO(Path(named or usual).read_text("utf-8")))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ImproperlyConfigured(
                f"The settings in {named or usual} cannot be read: {reason}."
            ) from error

    def folder(self, name, default):
        """The path of a folder, which is made if need be."""
        path = Path(self.text(name, str(default))).resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"{path} cannot be used ({error.strerror}): change {name}."
            ) from error
        return path

    def text(self, name, default=""):
        return self.str(name, default="") or default

    def words(self, name):
        return [word for word in self.text(name).split(",") if word]

    def switch(self, name, default=False):
        text = self.text(name, str(default)).lower()
        if text not in ("true", "false"):
            raise ImproperlyConfigured(f"{name} is {text!r}; it must be true or false.")
        return text == "true"

    def choice(self, name, *words):
        """One of the words; the first if there is none."""
        word = self.text(name, words[0])
        if word not in words:
            raise ImproperlyConfigured(
                f"{name} is {word!r}; it must be {' or '.join(words)}."
            )
        return word

    def number(self, name, default, highest=65535):
        text = self.text(name, str(default))
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= highest):
            raise ImproperlyConfigured(
                f"{name} is {text!r}; it must be a number from 1 to {highest}."
            )
        return int(text)

    def origin(self, name):
        """The origin as browsers write it, or "" if there is none."""
        text = self.text(name)
        with must_look_like(name, "https://chat.example.org, without a path"):
            return origin_of(text) if text else ""

    def database(self, name):
        """The entry of DATABASES, or {} if there is none."""
        url = self.text(name)
        with must_look_like(name, "postgres://user:password@host:5432/name"):
            return database_of(url) if url else {}

    def redis(self, name):
        """The URL of a Redis server, or "" if there is none."""
        url = self.text(name)
        with must_look_like(name, "redis://host:6379/0, rediss://… or unix:///path"):
            return redis_of(url) if url else ""

    def email(self, name):
        """Django's EMAIL_… settings; letters go to the terminal if there are none."""
        with must_look_like(name, "smtp+tls://user:password@host:587"):
            return self.email_url_config(self.text(name, "consolemail://"))


def database_of(url):
    require(urlsplit(url).scheme in ("postgres", "postgresql"))
    config = environ.Env.db_url_config(url)
    require(config["NAME"])
    return config


def redis_of(url):
    parts = urlsplit(url)
    require(parts.scheme in ("redis", "rediss", "unix"))
    require(parts.port != 0)  # one that is no number raises ValueError
    return url


def origin_of(url):
    parts = urlsplit(url)
    require(parts.scheme in USUAL_PORTS and parts.hostname)
    require(parts.username is None and parts.path in ("", "/"))
    require(not parts.query and not parts.fragment)
    port = parts.port not in (None, USUAL_PORTS[parts.scheme]) and f":{parts.port}"
    return f"{parts.scheme}://{host_of(url)}{port or ''}"


def is_every_address(host):
    """Whether to listen there is to listen at all addresses of the machine."""
    with suppress(OSError):
        return socket.inet_aton(host) == bytes(4)  # "0" is one way to write it
    with suppress(ValueError):
        return ip_address(host).is_unspecified
    return False


def host_of(url):
    """The host as in a `Host` header: punycode, and brackets around an IPv6 address."""
    host = urlsplit(url).hostname
    return f"[{host}]" if ":" in host else host.encode("idna").decode()


def require(condition):
    if not condition:
        raise ValueError


@contextmanager
def must_look_like(name, example):
    """Say what is wanted without repeating the value: it may hold a password."""
    try:
        yield
    except (ValueError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name} must look like {example}.") from error

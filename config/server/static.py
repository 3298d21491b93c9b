"""Static files for a chat without Nginx: collected when they change, sent by ASGI.

WhiteNoise finds and describes a file; its middleware would read the whole file in
Django's one thread for blocking work, and warn about it.
"""

import json
from functools import cache, partial
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.storage import CompressedManifestStaticFilesStorage

CHUNK = 64 * 1024
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Storage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's, which thinks of each address once: a room's page names 70."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not settings.DEBUG:
            self.url = cache(self.url)


def collect() -> None:
    """Bring `var/static` up to date if its sources have changed.

    What is no longer used stays: a page opened before may still ask for it.
    """
    stamp = settings.STATIC_ROOT.with_suffix(".json")
    sources = fingerprint()
    if not stamp.exists() or stamp.read_text() != sources:
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(sources)


def fingerprint():
    """Every source with its size and time of change.

    That is the inode's: a release has all its files from 1970, for `deploy/install.sh`
    packs them so.
    """
    stats = {
        path: Path(storage.path(path)).stat()
        for finder in get_finders()
        for path, storage in finder.list([])
    }
    return json.dumps({path: (s.st_size, s.st_ctime_ns) for path, s in stats.items()})


class Files(WhiteNoiseMiddleware):
    """WhiteNoise's, which describes each file when it is first asked for: it would take
    a tenth of a second of the start, and behind Nginx nobody asks."""

    def add_file_to_dictionary(self, url, path, stat_cache) -> None:
        if not self.is_compressed_variant(path, stat_cache):
            describe = partial(self.get_static_file, path, url, stat_cache)
            self.files[url] = cache(describe)

    def find(self, url):
        """The file with that address, or None."""
        if self.autorefresh:
            return self.find_file(url)
        describe = self.files.get(url)
        return describe and describe()


class StaticFiles:
    """An ASGI application that answers for static files and passes on the rest."""

    def __init__(self, application) -> None:
        self.application = application
        self.files = Files()

    async def __call__(self, scope, receive, send) -> None:
        file = self.find(scope["path"])
        if file:
            await respond(file.get_response(scope["method"], environ(scope)), send)
        else:
            await self.application(scope, receive, send)

    def find(self, path):
        return path.startswith(self.files.static_prefix) and self.files.find(path)


def environ(scope):
    """The request's headers under the names WSGI gives them."""
    headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
    return {f"HTTP_{n.upper().replace('-', '_')}": v for n, v in headers}


async def respond(response, send) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in [*response.headers, *HEADERS]
    ]
    await send(
        {"type": "http.response.start", "status": response.status, "headers": headers}
    )
    if response.file:
        with response.file as file:
            while chunk := file.read(CHUNK):
                await send(
                    {"type": "http.response.body", "body": chunk, "more_body": True}
                )
    await send({"type": "http.response.body"})

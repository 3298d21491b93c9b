"""The command behind `make run`."""

from django.conf import settings
from django.core.management import BaseCommand, call_command
from django.db import connection

from config.server import daphne
from config.server.listeners import TCPPort, UnixSocket
from rooms.forms import is_new
from rooms.setup_code import is_needed, setup_code


class Command(BaseCommand):
    help = "Set up the database and the static files, then serve the chat."
    requires_system_checks = []  # they cost time, and `make test` has done them

    def add_arguments(self, parser):
        parser.add_argument(
            "--unix-socket", metavar="PATH", help="listen there instead of HOST:PORT"
        )
        parser.add_argument(
            "--prepared",
            action="store_true",
            help="`manage.py prepare` has been run: leave database and files alone",
        )

    def handle(self, *, unix_socket, prepared, **options):
        listener = UnixSocket(unix_socket) if unix_socket else TCPPort()
        if not prepared:
            call_command("prepare")
        if settings.REDIS_URL:
            self.warn_unless_redis_answers()
        self.serve(listener)

    def warn_unless_redis_answers(self):
        import redis  # not for who has none: it takes a while to load

        limits = {"socket_timeout": 1, "socket_connect_timeout": 1}
        try:
            with redis.Redis.from_url(settings.REDIS_URL, **limits) as client:
                client.ping()
        except redis.RedisError as error:
            self.stderr.write(
                f"Redis does not answer ({error}): messages will be late until it does."
            )

    def serve(self, listener):
        setting_up = how_to_set_up() if is_new() else None
        connection.close()
        from config.asgi import application

        daphne.run(application, listener, lambda: self.welcome(listener, setting_up))
        self.say("Rollcall has stopped.")

    def welcome(self, listener, setting_up):
        self.say(f"Rollcall is ready: open {listener}")
        if setting_up:
            self.say(setting_up)
        self.say("Ctrl-C stops it.")

    def say(self, sentence):
        self.stdout.write(sentence)
        self.stdout.flush()


def how_to_set_up():
    if is_needed():
        return f"Set it up there with the set-up code {setup_code()}."
    return "The first visitor makes the admin."

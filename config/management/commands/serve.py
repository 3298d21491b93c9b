"""The command behind `make run`."""

import redis
from django.conf import settings
from django.core.management import BaseCommand, call_command
from django.db import connection

from accounts.models import User
from config import server
from config.listeners import TCPPort, UnixSocket


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
        self.warn_without_redis()
        self.serve(listener)

    def warn_without_redis(self):
        try:
            if settings.REDIS_URL:
                ping(settings.REDIS_URL)
        except redis.RedisError as error:
            self.stderr.write(
                f"Redis does not answer ({error}): messages will be late until it does."
            )

    def serve(self, listener):
        is_new = not User.objects.exists()
        connection.close()
        from config.asgi import application

        server.run(application, listener, lambda: self.welcome(listener, is_new))
        self.say("Rollcall has stopped.")

    def welcome(self, listener, is_new):
        self.say(f"Rollcall is ready: open {listener}")
        if is_new:
            self.say("The first visitor makes the admin.")
        self.say("Ctrl-C stops it.")

    def say(self, sentence):
        self.stdout.write(sentence)
        self.stdout.flush()


def ping(url):
    limits = {"socket_timeout": 1, "socket_connect_timeout": 1}
    with redis.Redis.from_url(url, **limits) as client:
        client.ping()

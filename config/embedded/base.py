"""Django's PostgreSQL backend, with a server that starts when it is first needed."""

from django.conf import settings
from django.db.backends.postgresql import base

from config import embedded


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params):
        embedded.use(settings.VAR_DIR)
        return super().get_new_connection(conn_params)

"""The real settings, read in an environment of this run's own.

A temporary `var/`, and so a PostgreSQL of its own; nothing of the developer's `.env`.
"""

import os

from tests.support.servers import own_environment

own = own_environment()
os.environ.clear()
os.environ.update(own)

from config.settings import *  # noqa: E402, F403

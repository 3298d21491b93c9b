"""The benchmark: `make bench`. (load.py runs by itself, without Django.)"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

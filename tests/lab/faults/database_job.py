"""Work on the deployed system's database, by a process with that system's settings:
`python -m MODULE`, which is asked on stdin and answers on stdout, in JSON."""

import os
import subprocess
import sys

import orjson

from tests.support.servers import ROOT

AT_MOST = 600  # seconds


def ask(module, environment, question=None):
    """What `answer` says there; RuntimeError with its words where it cannot."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=environment,
        input=orjson.dumps(question),
        capture_output=True,
        timeout=AT_MOST,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr.decode()}")
    return orjson.loads(done.stdout)


def answer(function):
    """The `main` of such a module: print function(question)."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    found = function(orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(found))

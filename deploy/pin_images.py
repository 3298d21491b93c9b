"""`make images`: write the digests that the names of the containers' images stand for
today beside them, so that whoever builds or starts gets just these bytes.

Needs nothing but Python, and docker with buildx, which asks the registries.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
FILES = (DEPLOY / "Dockerfile", DEPLOY / "compose.yml")
IMAGE = re.compile(r"^(FROM |\s+image: )([\w./-]+:[\w.-]+)(?:@sha256:\w+)?", re.M)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def main(files=FILES):
    try:
        digests = {name: digest_of(name) for name in sorted(names_in(files))}
    except (OSError, subprocess.CalledProcessError, LookupError, ValueError) as error:
        sys.exit(f"Nothing was changed: docker named no digest ({error}).")
    for file in files:
        file.write_text(pinned(file.read_text(), digests))
    print(*(f"{name}@{digest}" for name, digest in digests.items()), sep="\n")


def names_in(files):
    return {name for file in files for _before, name in IMAGE.findall(file.read_text())}


def digest_of(name):
    """Of the image's index, which has one entry for each kind of processor."""
    ask = ["docker", "buildx", "imagetools", "inspect", name]
    answer = subprocess.check_output([*ask, "--format", "{{json .Manifest}}"])
    digest = json.loads(answer)["digest"]
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{name}: {digest!r}")
    return digest


def pinned(text, digests):
    return IMAGE.sub(lambda found: f"{found[1]}{found[2]}@{digests[found[2]]}", text)


if __name__ == "__main__":
    main()

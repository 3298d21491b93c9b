"""`make audit`: what a server is made of, as CycloneDX in var/sbom.json; and whether a
fault is known of anything that the locks name for this Python.

Ends with 1 if one is, and with 2 if the advisory service did not answer for all.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER = "requirements/base.lock"
ALL = ("requirements/bench.lock", "requirements/audit.lock")  # bench has the others
SBOM = Path("var/sbom.json")
PROGRAMS = Path(sys.executable).parent
AUDIT = ("--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off")
NO_ANSWER = (
    "The advisory service gave no answer about {what}, so nobody knows whether a fault"
    " is known. Try again where pypi.org can be reached."
)


class Unanswered(Exception):
    """The service did not answer for all; the message is a sentence that says so."""


def main():
    describe()
    try:
        faults = known_faults(*ask())
    except Unanswered as unanswered:
        print(unanswered, file=sys.stderr)
        sys.exit(2)
    print(*(faults or ["No fault is known of anything that is installed."]), sep="\n")
    sys.exit(bool(faults))


def describe():
    (ROOT / SBOM).parent.mkdir(exist_ok=True)
    options = ("--output-reproducible", "--output-file", SBOM)
    run("cyclonedx-py", "requirements", SERVER, *options, check=True)
    print(f"{SBOM} lists what a server is made of.")


def ask():
    """What pip-audit prints, and what it complains of. (It ends with 1 for faults and
    for its own failures alike.)"""
    locks = [f"--requirement={lock}" for lock in ALL]
    done = run("pip-audit", *AUDIT, *locks, capture_output=True, text=True)
    return done.stdout, done.stderr


def run(program, *words, **options):
    return subprocess.run([PROGRAMS / program, *words], cwd=ROOT, **options)


def known_faults(answer, complaint=""):
    """A line for each known fault in the JSON of pip-audit, in order of packages.

    Raises Unanswered where it is none, or where a package was skipped: pip-audit itself
    says that all is well if the service knows nobody.
    """
    if not answer.strip():
        why = complaint.strip().splitlines()[-1:]
        raise Unanswered("\n".join([NO_ANSWER.format(what="anything"), *why]))
    packages = json.loads(answer)["dependencies"]
    if skipped := sorted(one["name"] for one in packages if "skip_reason" in one):
        what = f"{len(skipped)} of {len(packages)} packages, {skipped[0]} among them"
        raise Unanswered(NO_ANSWER.format(what=what))
    return [told(package, fault) for package in packages for fault in package["vulns"]]


def told(package, fault):
    fixed = " or ".join(fault["fix_versions"]) or "no version yet"
    return f"{package['name']} {package['version']}: {fault['id']}, mended by {fixed}"


if __name__ == "__main__":
    main()

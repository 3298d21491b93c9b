"""A small disk of PostgreSQL's own, which can be full. It takes root, and the right to
mount."""

import os
import subprocess
from contextlib import suppress

from config.embedded import cluster

# Kept short, so that what fills the disk is what people said.
POSTGRES_CONF = "max_wal_size = 256MB\n"


class Disk:
    """Mounted at `path`; PostgreSQL's data, which is made here, is in it. It is
    `gigabytes` of the memory, once it is full."""

    def __init__(self, path, gigabytes):
        self.path = path
        path.mkdir()
        options = f"size={gigabytes}g,mode=755"
        mount = ["mount", "-t", "tmpfs", "-o", options, "rollcall", path]
        subprocess.run(mount, check=True, capture_output=True)

    @classmethod
    def mounted(cls, path, gigabytes):
        """One, or None where it may not be had."""
        with suppress(OSError, subprocess.CalledProcessError):
            return cls(path, gigabytes)
        return None

    def put_data(self, data):
        """Make a database on this disk, to be found at `data`."""
        cluster.make(self.path / "postgres")
        with (self.path / "postgres" / "postgresql.conf").open("a") as conf:
            conf.write(POSTGRES_CONF)
        data.symlink_to(self.path / "postgres")

    def fill(self):
        """Leave not a block."""
        with self._filler() as filler, suppress(OSError):
            os.posix_fallocate(filler.fileno(), 0, self._free_bytes())
            while True:  # what was freed, or promised to nobody, meanwhile
                filler.seek(0, os.SEEK_END)
                filler.write(b"\0" * 4096)

    def _filler(self):
        # Unbuffered: what is left in a buffer is written again, and raises, at the end.
        return (self.path / "filler").open("wb", buffering=0)

    def free(self):
        (self.path / "filler").unlink(missing_ok=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], capture_output=True)

    def _free_bytes(self):
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

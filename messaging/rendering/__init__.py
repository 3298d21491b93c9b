"""Messages as HTML: Markdown in, clean HTML out.

Here is what `pool`, in the server, and `worker`, in a process without Django, agree on.
"""

import struct

DEADLINE = 0.25  # seconds for one text
SIZE = struct.Struct("!I")  # before each text and each answer: its length in bytes

"""Messages as HTML: Markdown in, clean HTML out.

Here is what `pool`, in the server, and `worker`, in a process without Django, agree on.
"""

import struct

# Seconds for one text: in the server by the clock, in a worker of the processor's time,
# so that a busy machine is not taken for a slow text.
DEADLINE = 0.25
STUCK_AFTER = 1.25  # seconds by the clock; a worker without an answer is given up
SIZE = struct.Struct("!I")  # before each text and each answer: its length in bytes

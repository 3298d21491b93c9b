"""The live end of a process: its sockets, its rooms, and what keeps both true."""

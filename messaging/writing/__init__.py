"""How what sockets ask for is written to the logs of rooms: many in a transaction."""

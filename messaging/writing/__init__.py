"""How what sockets ask for reaches the logs of rooms: many requests in one transaction."""

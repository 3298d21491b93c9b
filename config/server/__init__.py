"""The server: Daphne, and all of ours that touches the insides of Daphne, autobahn and
Twisted."""

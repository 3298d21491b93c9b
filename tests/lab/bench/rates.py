"""Which of several offered rates went best."""


def best(runs):
    """The most deliveries a second at any rate."""
    return max(run["deliveries"] for run in runs.values())


def best_within(runs, limit):
    """The most deliveries a second at a rate whose p99 is at most `limit` ms; 0 if none
    was, or if it did not deliver what was offered."""
    return max(
        (
            run["deliveries"]
            for run in runs.values()
            if run["p99"] <= limit and not run["closed"]
        ),
        default=0,
    )

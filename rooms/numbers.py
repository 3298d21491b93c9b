"""Numbers that come from outside: an address, a form, a cookie."""

HIGHEST = 2**63 - 1  # what PostgreSQL stores


def read_number(text, highest=HIGHEST):
    """0 to `highest` in decimal digits of ASCII as an int; None for anything else."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
    number = int(text) if is_number else None
    return number if number is not None and number <= highest else None

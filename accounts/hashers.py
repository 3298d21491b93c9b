from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """Argon2id as OWASP advises it: 19 MiB, two passes, one lane.

    Django's 100 MiB would let a crowd that signs in at once use up a small machine.
    """

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

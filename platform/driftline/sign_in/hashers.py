"""How passwords are hashed."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class BoundedArgon2(Argon2PasswordHasher):
    """Argon2id as OWASP's cheat sheet on password storage has it first: 46 MiB, one pass, one lane.

    Django's own choice takes 100 MiB and eight threads an attempt to sign in, too much where several are under way.
    """

    time_cost = 1
    memory_cost = 46 * 1024  # KiB
    parallelism = 1

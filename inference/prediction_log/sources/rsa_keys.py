"""Private keys of RSA, with which a source signs in."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

MAX_PEM_CHARACTERS = 4_000  # of 4,096 bits: 3,300


def read_rsa_key(pem: str) -> RSAPrivateKey:
    """Return the key of a PEM; raises ValueError for one that is none, is too long, or is encrypted."""
    if len(pem) > MAX_PEM_CHARACTERS:
        raise ValueError("the key is too long")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key is encrypted, or of an unknown kind") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the key is not of RSA")
    return key

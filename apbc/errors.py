"""Errors that are the user's to mend, each told in one sentence."""


class ApbcError(Exception):
    """Bad input or a bad environment: what is wrong, where, and what to do.

    The command line prints the message as one line and exits with 1; nothing
    half-written stays behind.
    """

"""The one error of this package."""


class ConfinementError(Exception):
    """A confinement step failed; the process must not go on to run anything untrusted."""

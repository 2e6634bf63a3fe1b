"""Errors of the protocol package: whose fault it is decides the type."""


class ProtocolError(Exception):
    """Base of every error that this package raises."""


class WireError(ProtocolError):
    """Bytes from outside break a rule of the wire format: the sender's fault."""


class SignatureError(WireError):
    """The signature does not belong to the author and the bytes."""


class FieldError(ProtocolError):
    """A record was built here with a value that the wire cannot carry: our own fault."""

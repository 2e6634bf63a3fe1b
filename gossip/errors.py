"""Errors of the gossip package: what a caller may want to tell apart."""


class GossipError(Exception):
    """Base of every error that this package raises."""


class AddressError(GossipError):
    """Text is not an address that this node can dial or listen on."""


class AddressInUseError(GossipError):
    """Another program already listens on the wanted port."""


class UnreachableError(GossipError):
    """A peer did not answer at any of its addresses."""


class WrongSwarmError(GossipError):
    """A peer belongs to another swarm."""


class BlobUnavailableError(GossipError):
    """No connected peer delivered the blob."""


class RequestError(GossipError):
    """One request to one peer failed; another peer or a later time may do."""

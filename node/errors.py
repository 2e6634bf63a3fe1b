"""Errors of the node package. Each carries the exit code that the command line ends with."""

from typing import ClassVar


class NodeError(Exception):
    """Base of every error that this package raises; its text is written for the user."""

    exit_code: ClassVar[int] = 1


class UsageError(NodeError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class NotRunningError(NodeError):
    """No node runs on this home directory."""

    exit_code = 3


class UnreachableNodeError(NodeError):
    """The network, or the node that was named, cannot be reached."""

    exit_code = 4


class IdentityError(NodeError):
    """The identity key is missing, unreadable or unsafe."""


class StoreError(NodeError):
    """The record store cannot be used."""


class StoreCorruptError(StoreError):
    """The record store's file is damaged."""


class StoreFullError(StoreError):
    """The disk is full; what was being written has not been acknowledged."""


class ConfigError(UsageError):
    """The configuration file says something that cannot be."""

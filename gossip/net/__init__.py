"""The network engine: the only package that sees libp2p."""

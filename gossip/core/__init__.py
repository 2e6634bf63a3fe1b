"""The pure half of gossip: state machines without I/O."""

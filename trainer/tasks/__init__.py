"""The tasks that ship with swarm-node, one directory each."""

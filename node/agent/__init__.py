"""The agent: reads the head's script and the swarm's memory, proposes the next change."""

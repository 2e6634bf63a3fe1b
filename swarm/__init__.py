"""What records mean: membership, verdicts, lineage and memory, as pure functions."""

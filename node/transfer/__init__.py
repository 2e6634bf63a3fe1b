"""Replaying the lineage at another scale, from the command line."""

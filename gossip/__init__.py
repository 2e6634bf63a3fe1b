"""Gossip: who gets which record when. It does not know what a record means."""

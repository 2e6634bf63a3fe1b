"""Composition: everything that touches the machine, and the command line."""

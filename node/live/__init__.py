"""Handing variants of a page to real people, and counting who says yes."""

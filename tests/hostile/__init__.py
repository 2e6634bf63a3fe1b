"""The hostile suite: named attacks, each proven to work unsandboxed and tried in every sandbox.

``python -m tests.hostile`` (``make test-sandbox``) prints the table. The attacks themselves import
only the standard library and ``trainer.confinement``: they are staged into the sandbox.
"""

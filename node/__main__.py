"""Run the command line with `python -m node`."""

from node.cli.main import main

main()

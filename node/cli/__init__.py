"""The command line. Every command lives in its own module and is imported when it is called."""

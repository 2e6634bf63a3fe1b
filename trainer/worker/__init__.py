"""What runs inside the sandbox: the warm zygote and the processes forked from it."""

"""Training: tasks, the compute budget, the worker and the scorer."""

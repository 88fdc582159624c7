"""What clients that are slow on purpose do to everybody else."""

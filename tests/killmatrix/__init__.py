"""What is left of a job when any of its processes is killed at any of its steps."""

"""What a limit that was set through the REST interface does to jobs that read from a mount."""

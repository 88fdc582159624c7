"""Where a server connects to when users name addresses: in a network of its own, seen by the
kernel."""

"""A soak of a mount: many users at once, kills and remounts, then a verdict.

`run` is the whole course, `worker` one user, `ledger` what its files must be, `daemon` the mount
and what its process holds, `verdict` whether that stays flat, `supply` the frames.
"""

"""Frame formats: each module's ``probe`` turns a file's head into a layout or a reason.

A probe is total: any bytes give a `Layout` or raise `NotUnderstood` with the reason; it
allocates nothing by what a header says.
"""

"""The command trainer where it runs: the user's own training script, one run a pack.

`train` runs it, `process` and `keeper` start and end it, `course` reads what it reports, and
`outcome` decides how the run ended.
"""

"""Comparisons of results that are already there; a comparison describes and draws no verdict.

`sides` has the types; `named_sides`, `stored_runs`, `csv_table` and `imported_runs` read them;
`join_arms` decides which arms are compared, `arm_differences` what else differs between two arms,
`effects` the difference of their runs and its interval; `comparison` puts it all together, and
`rendering` and `figure` present it.
"""

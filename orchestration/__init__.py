"""The only package that knows Dagster: every stage of the data's path as assets, checks and jobs.

Belongs here: what runs, in which order, when, and what is shown of it. Does not: how a stage works;
that is `ingestion`, `dbt_project` and `klantbeeld`, none of which may import this package.

ingestion -> raw_<source> -> staging -> intermediate -> identity -> marts -> insights -> segments
-> activation -> published version -> crm, exports

`definitions.py` gathers; `assets/<stage>.py` one stage each; `checks.py` the checks that are not
dbt tests; `automation.py` jobs, schedules and sensors; `run.py` the same jobs from the command
line.
"""

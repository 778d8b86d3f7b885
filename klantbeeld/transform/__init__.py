"""How the library meets the dbt project: where it is, what it is run with, what is generated in it.

`project.py` knows the folders, the environment and the digest of the project, `registry.py` writes
the two generated parts and checks them for drift, `__main__.py` is the dbt that a run starts: one
that dies with its parent. The models themselves are in `dbt_project/`.
"""

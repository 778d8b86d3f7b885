"""One folder per source, all of the same anatomy; there is no other list of sources.

`__init__.py` the dlt source and the kind of `SYSTEM` it reads · `settings.py` its settings ·
`contracts.py` its raw tables · `helpers.py` what it needs to read · `__main__.py` runs it alone ·
`README.md` what it is and what is special about it.
"""

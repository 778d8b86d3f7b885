"""A small Dutch company to try everything on: its people, and the systems that know them.

`demo.world` is the whole of it (`klantbeeld demo`), `demo.tables` the same people as Arrow tables.
The pipeline knows nothing of this package; it meets the systems, as it would meet real ones.
"""

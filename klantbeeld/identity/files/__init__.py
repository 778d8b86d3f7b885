"""Files: linking the people of CSV and Parquet files, without a home or a warehouse.

Belongs here: reading files whoever wrote them, recognising their columns, results as rows of the
files. Does not: standardising (the dbt macros, rendered) and linking (`identity`), which are the
pipeline's own.

Flow: paths -> file_<n> -> linkage_records -> people -> … -> rows with profile_id.

Files, in the order of work: encoding, reading, columns, dates, standardising, copies, linkage.
"""

from klantbeeld.identity.files.linkage import (
    FileLinkReport,
    FileLinkRequest,
    Listener,
    link_files,
)

__all__ = ["FileLinkReport", "FileLinkRequest", "Listener", "link_files"]

"""Stage 1, load: every source system lands in the build file as `raw_<source>`.

Belongs here: reading a source, its contract, and the checks in front of the load. Does not belong
here: what the values mean (staging decodes, intermediate harmonises) and who starts a load (the
orchestrator).

    source -> reader (dlt's connector) -> validation -> dlt -> raw_<source>.<table>
                                              |
                                              +-> quarantine (control plane), can be replayed

* `contracts.py`: how a raw table is described; `sources/<source>/contracts.py` describes it.
* `validation.py`: set-based: what cannot be loaded is set aside; the rest is deduplicated and
  compared.
* `intake.py`: turns a contract and its reader into a dlt resource with that validation in between.
* `folder.py`, `delimited.py`, `lines.py`: what sources of files share.
* `landing.py`: files are copied into the home, with a manifest, before they are read.
* `pipelines.py`: the only file that names a destination.
* `sources/<source>/`: one folder per source; each runs alone with `python -m
  ingestion.sources.<source>`.
"""

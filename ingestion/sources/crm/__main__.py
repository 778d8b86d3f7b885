"""Load this source alone: `python -m ingestion.sources.crm`."""

from ingestion.alone import main

if __name__ == "__main__":
    raise SystemExit(main("crm"))

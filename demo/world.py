"""The demo world: start it, stop it, let it live."""

from demo.tables import generate_tables

__all__ = ["generate_tables"]

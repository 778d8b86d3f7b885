"""The control plane: one small transactional store for what can never be rebuilt.

Profile-id history, published versions, steward decisions, quarantine, outbox and acknowledgements,
consent received directly, tombstones, the audit log. SQLite (WAL, `synchronous=FULL`) in the home.
Tables are in `tables.py`, their history in `migrations/`, opening and backup in `store.py`.
"""

from klantbeeld.control.store import ControlPlane, open_control

__all__ = ["ControlPlane", "open_control"]

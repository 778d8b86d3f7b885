"""Versioned migrations of the control plane; run by `store.open_control` when a home is behind."""

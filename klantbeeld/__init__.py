"""Klantbeeld: an open, warehouse-native customer data platform.

This package is what the product itself knows: linking records, keeping profile ids, planning and
delivering syncs, the two planes (warehouse and control), settings and the command line. It knows no
orchestrator; `orchestration/` calls it, never the other way round.
"""

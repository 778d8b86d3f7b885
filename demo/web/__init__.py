"""The click stream of the web shop: JSON lines, a file per business date.

`<folder>/events-YYYY-MM-DD.jsonl`, one event per line, in order of time. A log-in ties the
visitor's `anonymous_id` to a customer of the shop.
"""

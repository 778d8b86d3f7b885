"""The tills of six stores: they know nothing but files, which they drop in a folder per store.

    <folder>/<store>/receipts_<store>_<yyyymmdd>.csv    one line per article on a receipt
    <folder>/<store>/members_<store>_<yyyymmdd>.csv     card holders that are new or changed

Semicolons, decimal commas, dd-mm-yyyy, local time. Most tills write UTF-8; the old ones in store
103, and now and then another, write Latin-1, with a question mark for what it cannot hold. A
return has `RETOUR`, a negative quantity and a negative amount.
"""

"""How a record is named: `source:entity:key`, and what stands in for a key that is personal data.

Most functions give SQL, because records are many: they are used where tables are read, never row by
row.
"""

import hashlib


def record_id_sql(source: str, entity: str, key: str) -> str:
    """SQL for a record id.

    Args:
        source: The source's name, such as `crm`.
        entity: The kind of record, such as `contact`.
        key: A SQL expression for the source's own key. A colon or a per cent sign in it is escaped
            (`%3A`, `%25`), so that ids of different records never meet.

    Returns:
        An expression of type varchar, null where the key is null.
    """
    return f"'{source}:{entity}:' || {escaped_key_sql(key)}"


def escaped_key_sql(key: str) -> str:
    """SQL for one part of a record id: the text of a key, without a colon of its own."""
    return f"replace(replace(cast({key} as varchar), '%', '%25'), ':', '%3A')"


def keyed_hash_sql(value: str, *, home_key: str) -> str:
    """SQL for a keyed hash, to use where a key is itself personal data (an e-mail address).

    Two nested SHA-256 rounds, each begun with the home's secret: without the secret neither a guess
    can be tested nor a longer value forged (the idea of RFC 2104, in functions every engine has).

    Args:
        value: A SQL expression, normalised by the caller.
        home_key: A SQL expression or parameter (`$home_key`) for `Settings.home_key().hex()`.

    Returns:
        An expression of 32 hexadecimal digits, null where the value is null.
    """
    return f"left(sha256({home_key} || sha256({home_key} || cast({value} as varchar))), 32)"


def keyed_hash(value: str, home_key: bytes) -> str:
    """The same hash for a single value, such as a key a person types; shape as `keyed_hash_sql`."""
    key = home_key.hex()
    inner = hashlib.sha256((key + value).encode()).hexdigest()
    return hashlib.sha256((key + inner).encode()).hexdigest()[:32]


def typed_record_id(text: str, home_key: bytes) -> str:
    """A record id as a person types it: an e-mail address in it stands for its keyed hash."""
    head, colon, key = text.strip().rpartition(":")
    if "@" not in key:
        return text.strip()
    return f"{head}{colon}{keyed_hash(key.strip().lower(), home_key)}"

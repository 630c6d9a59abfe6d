"""Values as people type them into forms and DAG files, read strictly."""

from __future__ import annotations

from airflow_sms_flow.core.errors import InvalidInput

#: More would be slower, not faster: the vendor takes 300 texts a second, however many tasks send them.
MOST_SHARDS = 100


def read_flag(field: str, value: object) -> bool:
    """True or False, also as text in any case, since Jinja makes text of a Param. Anything else is an error:
    a "no" that is taken for a "yes" texts people."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise InvalidInput(field, value, "must be true or false")


def read_choice(field: str, value: object, choices: tuple[str, ...]) -> str:
    """One of `choices`, to the letter."""
    if isinstance(value, str) and value in choices:
        return value
    raise InvalidInput(field, value, f"must be one of: {', '.join(choices)}")


def read_id(field: str, value: object, remedy: str) -> str:
    """An id as a vendor's page shows it, typed as text or number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and value.strip() != "None":
        return value.strip()
    raise InvalidInput(field, value, remedy)


def read_ids(field: str, value: object, remedy: str) -> tuple[str, ...]:
    """Several such ids, each once: a list, one alone, or text with commas, as a trigger form makes it. Empty
    where there are none."""
    if value is None or value == "" or value == "None":
        return ()
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple | set | frozenset):
        several = [several]
    return tuple(dict.fromkeys(read_id(field, one, remedy) for one in several))


def read_share(field: str, value: object) -> float:
    """A share from 0 to less than 1, also as text; none ("", "None") is 0."""
    remedy = "give a share below 1, such as 0.1 for ten per cent"
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(field, value, remedy)
    try:
        share = float(value)
    except ValueError:
        raise InvalidInput(field, value, remedy) from None
    if not 0 <= share < 1:
        raise InvalidInput(field, value, remedy)
    return share


def read_limit(field: str, value: object) -> int | None:
    """A whole number from 1 on, also as text; none ("", "None") is None: no limit."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(field, value, "give a whole number from 1 on, such as 50000, or None for no limit")
    return value


def read_shards(field: str, value: object) -> int | None:
    """Into how many shards, also as text; none ("", "None") is None: one file that no task maps over."""
    remedy = f"give a whole number from 1 to {MOST_SHARDS}; leave it out for one file and no mapping"
    try:
        shards = read_limit(field, value)
    except InvalidInput:
        raise InvalidInput(field, value, remedy) from None
    if shards is not None and shards > MOST_SHARDS:
        raise InvalidInput(field, value, remedy)
    return shards

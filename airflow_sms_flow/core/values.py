"""Values as people type them into forms and DAG files, read strictly."""

from __future__ import annotations

from airflow_sms_flow.core.errors import InvalidInput


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

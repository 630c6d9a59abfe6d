"""Saving a person: who it is, what conflicts, what changes."""

from __future__ import annotations

from typing import Any

from airflow_sms_flow.sandbox.vibes.models import Company, Person, VibesError


def save_person(
    company: Company,
    body: dict[str, Any],
    mdn: str | None,
    custom_fields: dict[str, Any],
    *,
    person: Person | None = None,
    create: bool = False,
    dry: bool = False,
) -> Person | None:
    """Find or create the person that `body` names, and apply what it says: omitted stays, null clears.

    `create` is the persons API (409 where the number belongs to another record); without it, the rules are
    those of the participants API, where the number decides. `dry` looks for conflicts and changes nothing.
    """
    persons = company.persons
    external = body.get("external_person_id")
    if external is not None and (not isinstance(external, str) or not 0 < len(external) <= 128):
        raise VibesError(422, "external_person_id must be a string of at most 128 characters")
    found = person or _find(company, body, mdn, external)
    by_external = persons.by_external.get(external) if external else None
    if by_external is not None and found is not by_external:
        raise VibesError(422, "EXTERNALPERSONIDMISMATCH: external_person_id is used by another person")
    if (
        create
        and found is not None
        and person is None
        and external
        and found.external_person_id not in (None, external)
    ):
        raise VibesError(409, "The MDN belongs to another person")
    if found is None and mdn is None and external is None:
        raise VibesError(
            422, "No person found, and neither mobile_phone.mdn nor external_person_id to make one"
        )
    if mdn is not None and found is not None and found.mdn != mdn and (found.mdn or mdn in persons.by_mdn):
        raise VibesError(409, "The MDN of a person cannot be changed")
    if dry:
        return found
    if found is None:
        found = persons.create(mdn, external)
    return _apply(company, found, body, mdn, custom_fields)


def _find(company: Company, body: dict[str, Any], mdn: str | None, external: str | None) -> Person | None:
    for kind in ("person_key", "person_id"):
        if body.get(kind) is not None:
            found = company.persons.find(kind, str(body[kind]))
            if found is None:
                raise VibesError(422, f"{kind} is unknown")
            return found
    if mdn is not None:
        by_number = company.persons.by_mdn.get(mdn)
        if by_number is not None:
            return by_number
        # The caller's id stands at somebody without a phone: this is that person, and now we know the number.
        by_external = company.persons.by_external.get(external) if external else None
        return by_external if by_external is not None and by_external.mdn is None else None
    return company.persons.by_external.get(external) if external else None


def _apply(
    company: Company, person: Person, body: dict[str, Any], mdn: str | None, custom_fields: dict[str, Any]
) -> Person:
    phone = body.get("mobile_phone", {})
    if "external_person_id" in body and body["external_person_id"] != person.external_person_id:
        company.persons.set_external(person, body["external_person_id"])
    if mdn is not None:
        company.persons.set_mdn(person, mdn)
    elif phone is None or (isinstance(phone, dict) and "mdn" in phone):
        company.persons.clear_mdn(person)
    for name, value in custom_fields.items():
        if value is None:
            person.custom_fields.pop(name, None)
        else:
            person.custom_fields[name] = value
    return person

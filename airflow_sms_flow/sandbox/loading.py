"""Putting given leads, people and lists into the world, for tests that need to know exactly who is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from airflow_sms_flow.sandbox.marketo.models import FIELD_NAMES, Instance, MarketoList
from airflow_sms_flow.sandbox.people import BEHAVIOURS, CARRIERS, is_e164
from airflow_sms_flow.sandbox.state import State
from airflow_sms_flow.sandbox.vibes.models import Company, Person

Item = Mapping[str, Any]


def load(state: State, body: Item) -> dict[str, int]:
    """Add what `body` lists, in this order; how many of each. Raises ValueError at what makes no sense.

    leads: [{"id": 1, "mobilePhone": "...", ...}], fields left out are null;
    smart_lists, static_lists: [{"id": 9, "name": "...", "lead_ids": [1]}];
    phones: [{"phone": "+1...", "behaviour": "Y"|"N"|"silence", "carrier": "mobile"|"landline", "name": ""}];
    persons: [{"phone": "+1...", "external_person_id": "1"}];
    subscriptions: [{"phone": "+1...", "list_id": "1201", "opted_out": false, "external_person_id": "1"}];
    with `"announced": true`, callbacks tell it, as after the vendor's subscription import;
    blocks: [{"phone": "+1...", "campaign_id": "NEWS1201"}].
    """
    readers: dict[str, Callable[[State, Item], object]] = {
        "leads": _load_lead,
        "smart_lists": lambda state, item: _load_list(state.instance, state.instance.smart_lists, item),
        "static_lists": lambda state, item: _load_list(state.instance, state.instance.static_lists, item),
        "phones": _load_phone,
        "persons": _load_person,
        "subscriptions": _load_subscription,
        "blocks": _load_block,
    }
    unknown = sorted(set(body) - set(readers))
    if unknown:
        raise ValueError(f"{unknown[0]}: give {', '.join(readers)}")
    for kind, items in body.items():
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError(f"{kind}: give a list of objects")
    for kind, read in readers.items():
        for item in body.get(kind, ()):
            read(state, item)
    return {kind: len(body[kind]) for kind in readers if kind in body}


def _load_lead(state: State, item: Item) -> None:
    unknown = sorted(set(item) - set(FIELD_NAMES))
    if unknown or type(item.get("id")) is not int:
        raise ValueError(f"leads: give an integer id and any of {', '.join(FIELD_NAMES)}, not {unknown}")
    state.instance.add_leads([dict(item)])


def _load_list(instance: Instance, lists: dict[int, MarketoList], item: Item) -> None:
    instance.set_list(lists, int(item["id"]), str(item["name"]), item["lead_ids"])


def _number(item: Item) -> str:
    number = item.get("phone")
    if not is_e164(number):
        raise ValueError(f"phone={number!r}: give a number in E.164, such as +12025550132")
    return str(number)


def _load_phone(state: State, item: Item) -> None:
    phone = state.phones.get(_number(item))
    behaviour, carrier = item.get("behaviour", phone.behaviour), item.get("carrier", phone.carrier)
    if behaviour not in BEHAVIOURS:
        raise ValueError(f"behaviour={behaviour!r}: give one of {', '.join(BEHAVIOURS)}")
    if carrier not in CARRIERS:
        raise ValueError(f"carrier={carrier!r}: give one of {', '.join(CARRIERS)}")
    phone.behaviour, phone.carrier = behaviour, carrier
    state.phones.name(phone.number, str(item.get("name", "")))


def _load_person(state: State, item: Item) -> Person:
    persons, number = state.company.persons, _number(item)
    person = persons.by_mdn.get(number) or persons.create(number, None)
    if item.get("external_person_id") is not None:
        persons.set_external(person, str(item["external_person_id"]))
    return person


def _load_subscription(state: State, item: Item) -> None:
    company, list_id = state.company, str(item["list_id"])
    if list_id not in company.lists:
        raise ValueError(f"list_id={list_id!r}: give one of {', '.join(company.lists)}")
    person, effects = _load_person(state, item), len(state.phones.effects)
    with nullcontext() if item.get("announced") else company.quietly():
        if not company.active(list_id, person):
            company.subscribe(list_id, person)
        if item.get("opted_out"):
            company.unsubscribe(list_id, person, str(item.get("reason", "keyword_opt_out")))
    if not item.get("announced"):
        del state.phones.effects[effects:]


def _load_block(state: State, item: Item) -> None:
    company: Company = state.company
    known = [one.acquisition_id for one in company.lists.values()]
    if item.get("campaign_id") not in known:
        raise ValueError(f"campaign_id={item.get('campaign_id')!r}: give one of {', '.join(known)}")
    company.blocks.add((str(item["campaign_id"]), _load_person(state, item).person_id))

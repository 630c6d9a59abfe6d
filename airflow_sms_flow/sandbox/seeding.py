"""The world at the start: Marketo's leads and lists; people at Vibes who joined, left or said no long ago."""

from __future__ import annotations

from datetime import timedelta

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.leads import Generated, generate_leads
from airflow_sms_flow.sandbox.marketo.models import Instance
from airflow_sms_flow.sandbox.numbers import us_number
from airflow_sms_flow.sandbox.vibes.models import Company, Person

#: Shares of the textable numbers that are on each list at the start.
_ON_LIST = {"1201": 0.6, "1202": 0.7, "1203": 0.2}
_LEFT = 0.05
#: Of those who are to be invited: already there, left before, said No before, known under an older number.
_INVITED_ON_LIST, _INVITED_LEFT, _INVITED_BLOCKED, _INVITED_MOVED = 0.05, 0.06, 0.04, 0.01
_OLD_NUMBERS_FROM = 30_000


def seed_world(instance: Instance, company: Company) -> None:
    """Fill both vendors from the settings' count and seed."""
    made = generate_leads(instance.settings.leads, instance.settings.seed)
    instance.add_leads(made.leads)
    for list_id, name in accounts.SMART_LISTS.items():
        instance.set_list(instance.smart_lists, list_id, name, made.smart_lists[list_id])
    for list_id, name, source in accounts.STATIC_LISTS:
        instance.set_list(instance.static_lists, list_id, name, made.smart_lists[source])
    for number, name in made.names.items():
        company.phones.name(number, name)
    _seed_lists(made, company)
    company.phones.effects.clear()


def _seed_lists(made: Generated, company: Company) -> None:
    invited = set(made.smart_lists[accounts.SMART_LIST_INVITE])
    one = set(made.smart_lists[accounts.SMART_LIST_ONE])
    invited_numbers = {made.numbers[lead_id] for lead_id in invited if lead_id in made.numbers}
    for lead_id, number in made.numbers.items():
        phone = company.phones.get(number)
        if lead_id in one:
            phone.carrier, phone.behaviour = "mobile", "Y"
        if number in company.persons.by_mdn or phone.carrier != "mobile":
            continue
        if number in invited_numbers:
            _seed_invited(company, lead_id, number)
        else:
            _seed_customer(company, lead_id, number, everywhere=lead_id in one)


def _seed_customer(company: Company, lead_id: int, number: str, *, everywhere: bool) -> None:
    chance = company.phones.chance
    if chance("stranger", number) < 0.15 and not everywhere:
        return
    person = company.persons.create(number, str(lead_id) if chance("linked", number) < 0.7 else None)
    for list_id, share in _ON_LIST.items():
        drawn = chance(f"list {list_id}", number)
        if drawn < share or everywhere:
            _subscribe_long_ago(company, person, list_id, left=False)
        elif drawn < share + _LEFT:
            _subscribe_long_ago(company, person, list_id, left=True)


def _seed_invited(company: Company, lead_id: int, number: str) -> None:
    drawn, list_id = company.phones.chance("invited", number), accounts.STORE_NEWS.list_id
    if drawn < _INVITED_ON_LIST:
        _subscribe_long_ago(company, company.persons.create(number, str(lead_id)), list_id, left=False)
    elif drawn < (upto := _INVITED_ON_LIST + _INVITED_LEFT):
        _subscribe_long_ago(company, company.persons.create(number, str(lead_id)), list_id, left=True)
    elif drawn < (upto := upto + _INVITED_BLOCKED):
        person = company.persons.create(number, str(lead_id))
        company.blocks.add((accounts.STORE_NEWS.acquisition_id, person.person_id))
    elif drawn < upto + _INVITED_MOVED:
        company.persons.create(us_number(_OLD_NUMBERS_FROM + len(company.persons.by_id)), str(lead_id))


def _subscribe_long_ago(company: Company, person: Person, list_id: str, *, left: bool) -> None:
    days = 30 + 700 * company.phones.chance(f"since {list_id}", person.mdn or "")
    subscription = company.subscribe(list_id, person)
    subscription.opt_in_date -= timedelta(days=days)
    if left:
        company.unsubscribe(list_id, person, "keyword_opt_out")
        subscription.opt_out_date = subscription.opt_in_date + timedelta(days=days / 2)

"""The generated world: realistic leads, the same for each seed, and numbers that nobody has."""

from __future__ import annotations

import re
from collections import Counter

import phonenumbers
import pytest

from airflow_sms_flow.sandbox import Settings, accounts
from airflow_sms_flow.sandbox.leads import Generated, generate_leads
from airflow_sms_flow.sandbox.numbers import CA_AREA_CODES, US_AREA_CODES, US_FICTION, ca_number, us_number
from airflow_sms_flow.sandbox.state import State

REGIONS = {"44": "GB", "49": "DE", "52": "MX"}


@pytest.fixture(scope="module")
def made() -> Generated:
    """The leads of the demo."""
    return generate_leads(3000, 1)


@pytest.fixture(scope="module")
def world() -> State:
    """Both vendors as the demo starts them."""
    return State(Settings())


def test_every_area_code_gives_valid_numbers_of_its_country() -> None:
    """Phonenumbers takes the fiction range of each area code, in the US and in Canada."""
    for codes, region in ((US_AREA_CODES, "US"), (CA_AREA_CODES, "CA")):
        for code in codes:
            parsed = phonenumbers.parse(f"+1{code}5550132")
            assert phonenumbers.is_valid_number(parsed), code
            assert phonenumbers.region_code_for_number(parsed) == region, code


def test_numbers_are_distinct_and_from_the_fiction_range_first() -> None:
    """Lines 0100 to 0199 of exchange 555; only thousands of leads more leave it."""
    numbers = [us_number(index) for index in range(US_FICTION + 2000)]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\+1\d{3}55501\d\d", number) for number in numbers[:US_FICTION])
    assert all(re.fullmatch(r"\+1\d{3}55502\d\d", number) for number in numbers[US_FICTION:])
    assert len({ca_number(index) for index in range(2500)}) == 2500


def test_the_same_seed_gives_the_same_leads() -> None:
    """Another seed gives others."""
    assert generate_leads(50, 7).leads == generate_leads(50, 7).leads != generate_leads(50, 8).leads


def test_phonenumbers_reads_each_number_as_the_generator_meant_it(made: Generated) -> None:
    """However it is written, a number is valid for its country, and junk is not valid at all."""
    for lead in made.leads:
        number, written = made.numbers.get(lead["id"]), lead["mobilePhone"]
        region = REGIONS.get(number[1:3], "US") if number else "US"
        try:
            parsed = phonenumbers.parse(written or "", region)
            valid = phonenumbers.is_valid_number(parsed)
        except phonenumbers.NumberParseException:
            valid = False
        assert valid == (number is not None), written
        if number is not None:
            assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == number


def test_the_leads_are_as_odd_as_real_ones(made: Generated) -> None:
    """Missing and junk numbers, shared numbers (some with a blocklisted owner), flags, templates as names."""
    shared = {number for number, count in Counter(made.numbers.values()).items() if count > 1}
    blocked = {made.numbers.get(lead["id"]) for lead in made.leads if lead["blackListed"]}
    assert len(shared) > 100
    assert len(shared & blocked) > 5
    for name, low, high in (
        ("blackListed", 30, 200),
        ("marketingSuspended", 10, 100),
        ("unsubscribed", 100, 400),
    ):
        assert low < sum(lead[name] is True for lead in made.leads) < high
    assert {True, False, None} == {lead["blackListed"] for lead in made.leads}
    missing = sum(lead["mobilePhone"] is None for lead in made.leads)
    assert 60 < missing < 240
    names = {lead["firstName"] for lead in made.leads}
    assert {"{{lead.Email}}", "{% raw %}", "Line\nBreak", "مريم", "🎉 Party 🎉", None} <= names
    assert {"USA", "United States", "Canada", "Germany", "Earth", None} <= {
        lead["country"] for lead in made.leads
    }


def test_the_smart_lists_hold_whom_their_names_promise(world: State) -> None:
    """Most; some not yet on the list; few who leave, with awkward ones among them; nobody; one."""
    sizes = {list_id: len(one.lead_ids) for list_id, one in world.instance.smart_lists.items()}
    assert sizes[accounts.SMART_LIST_AUDIENCE] > 2000
    assert 200 < sizes[accounts.SMART_LIST_INVITE] < 400
    assert 50 < sizes[accounts.SMART_LIST_LEAVING] < 200
    assert (sizes[accounts.SMART_LIST_NOBODY], sizes[accounts.SMART_LIST_ONE]) == (0, 1)
    leaving = world.instance.members(world.instance.smart_lists[accounts.SMART_LIST_LEAVING])
    assert any(lead["blackListed"] for lead in leaving)
    assert any(lead["mobilePhone"] is None for lead in leaving)
    static = world.instance.static_lists[5001]
    assert static.lead_ids == world.instance.smart_lists[accounts.SMART_LIST_AUDIENCE].lead_ids


def test_the_invited_are_a_mixed_company(world: State) -> None:
    """Most are not on the list; some are, some left, some said no, some have a landline."""
    made, company = generate_leads(3000, 1), world.company
    found: Counter[str] = Counter()
    for lead_id in world.instance.smart_lists[accounts.SMART_LIST_INVITE].lead_ids:
        number = made.numbers.get(lead_id)
        if number is None:
            continue
        person = company.persons.by_mdn.get(number)
        found[world.phones.get(number).carrier] += 1
        if person is None:
            found["unknown"] += 1
        elif company.active("1201", person):
            found["on the list"] += 1
        elif ("NEWS1201", person.person_id) in company.blocks:
            found["blocked"] += 1
        elif company.history.get(person.person_id):
            found["left"] += 1
    assert found["unknown"] > 150
    assert min(found[word] for word in ("on the list", "blocked", "left", "landline")) >= 3


def test_the_one_person_can_be_texted_everywhere(world: State) -> None:
    """Smart list 1005 holds somebody on every list, for a first DAG that shows something."""
    (lead_id,) = world.instance.smart_lists[accounts.SMART_LIST_ONE].lead_ids
    number = generate_leads(3000, 1).numbers[lead_id]
    person = world.company.persons.by_mdn[number]
    assert all(world.company.active(one.list_id, person) for one in accounts.LISTS)


def test_the_world_begins_with_empty_phones(world: State) -> None:
    """What people did long ago is no effect of today's."""
    assert world.phones.effects == []
    assert not any(phone.texts for phone in world.phones.all())

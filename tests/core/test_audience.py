"""Everybody is kept or has a reason; the winner never depends on the order of the rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow.core.audience import judge, prepared_schema, renamed_display_names, split
from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.errors import InvalidInput, SmsFlowError
from airflow_sms_flow.core.filters import NumberLists, held_out
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.core.rules import REASONS, AudienceRules, Funnel, NumberFile
from tests.core.plain_preparation import plain_preparation, told

NO_LISTS = NumberLists()

PLAIN = AudienceRules(suppress=("blackListed",))
BOTH = AudienceRules(phone_fields=("mobilePhone", "phone"), suppress=("blackListed",))


def leads(*rows: dict[str, Any]) -> pa.Table:
    """A table of leads; what a row leaves out is missing, ids count from 1."""
    columns = ["id", "mobilePhone", "country", "blackListed", *{name for row in rows for name in row}]
    whole = [{"id": number, **row} for number, row in enumerate(rows, start=1)]
    return pa.table({name: [row.get(name) for row in whole] for name in dict.fromkeys(columns)})


def prepare(
    table: pa.Table, rules: AudienceRules, lists: NumberLists = NO_LISTS, at_once: int = 3
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Funnel]:
    """The kept rows, the rejected ones, and the funnel, with so many rows in each piece."""

    def read(names: Sequence[str] | None) -> list[pa.RecordBatch]:
        return (table if names is None else table.select(names)).to_batches(max_chunksize=at_once)

    verdicts = judge(read, table.schema.names, rules, lists)
    kept, rejected, start = [], [], 0
    for rows in read(None):
        audience, others = split(rows, verdicts.of(rows, start))
        assert audience.schema == prepared_schema(table.schema)
        kept += audience.to_pylist()
        rejected += others.to_pylist()
        start += rows.num_rows
    return kept, rejected, verdicts.funnel


def reasons(
    table: pa.Table, rules: AudienceRules = PLAIN, lists: NumberLists = NO_LISTS
) -> dict[int, str | None]:
    """Each lead's reason, None where kept."""
    kept, rejected, _ = prepare(table, rules, lists)
    return {row["id"]: None for row in kept} | {row["id"]: row["reason"] for row in rejected}


def phones(table: pa.Table, rules: AudienceRules = PLAIN) -> list[str]:
    """Who gets the text."""
    return [row["phone"] for row in prepare(table, rules)[0]]


def test_each_reason_is_given_in_the_order_of_the_design() -> None:
    """suppressed, no_phone, invalid_phone, suppressed_number, duplicate: the first that fits is told."""
    table = leads(
        {"mobilePhone": "", "blackListed": True},
        {"mobilePhone": "   "},
        {"mobilePhone": "N/A"},
        {"mobilePhone": "202-555-0132", "blackListed": True},
        {"mobilePhone": "+1 202 555 0132"},
        {"mobilePhone": "(202) 555-0133"},
        {"mobilePhone": "2025550133"},
    )
    assert reasons(table) == {
        1: "suppressed", 2: "no_phone", 3: "invalid_phone", 4: "suppressed", 5: "suppressed_number",
        6: None, 7: "duplicate",
    }  # fmt: skip


def test_the_first_valid_phone_counts_and_any_phone_of_a_suppressed_lead_is_taboo() -> None:
    """A blocklisted person's work number must not be reached through a colleague's record."""
    table = leads(
        {"mobilePhone": "junk", "phone": "202-555-0140"},
        {"mobilePhone": "202-555-0141", "phone": "202-555-0142", "blackListed": True},
        {"mobilePhone": "202-555-0142"},
    )
    assert reasons(table, BOTH) == {1: None, 2: "suppressed", 3: "suppressed_number"}
    scope_lead = AudienceRules(phone_fields=BOTH.phone_fields, suppress=BOTH.suppress, suppress_scope="lead")
    assert reasons(table, scope_lead)[3] is None


def test_a_number_is_read_in_the_country_of_its_lead_else_in_the_default_region() -> None:
    """A country that nobody understands is no reason to lose the person."""
    table = leads(
        {"mobilePhone": "020 7946 0000", "country": "United Kingdom"},
        {"mobilePhone": "202-555-0132", "country": "Narnia"},
        {"mobilePhone": "202-555-0133"},
    )
    assert phones(table) == ["+442079460000", "+12025550132", "+12025550133"]


def test_the_extracted_work_phone_moves_aside_for_the_number_that_gets_the_text() -> None:
    """`phone` is E.164 in prepared files; Marketo's own `phone` is `phone_raw`, its tokens follow."""
    (row,), _, _ = prepare(leads({"mobilePhone": "202-555-0132", "phone": "ext. 5"}), BOTH)
    assert (row["phone"], row["phone_raw"]) == ("+12025550132", "ext. 5")
    names = renamed_display_names({"Phone Number": "phone", "Country": "country"}, ["id", "phone", "country"])
    assert names == {"Phone Number": "phone_raw", "Country": "country", "phone": "phone_raw"}
    with pytest.raises(InvalidInput, match="phone_raw"):
        prepare(leads({"mobilePhone": "1", "phone": "1", "phone_raw": "1"}), BOTH)


@pytest.mark.parametrize("yes", [True, 1, 1.0, "true", "TRUE", " Yes ", "1"])
def test_a_yes_in_any_usual_form_suppresses(yes: object) -> None:
    """Null means not suppressed, whatever the type of the column."""
    table = leads({"mobilePhone": "202-555-0132", "blackListed": yes}, {"mobilePhone": "202-555-0133"})
    assert reasons(table) == {1: "suppressed", 2: None}


@pytest.mark.parametrize("no", [False, 0, 0.0, "no", "False", "0", "", "  ", None, float("nan")])
def test_a_no_in_any_usual_form_does_not(no: object) -> None:
    """Null or empty means not suppressed."""
    assert reasons(leads({"mobilePhone": "202-555-0132", "blackListed": no})) == {1: None}


def test_words_that_are_stored_once_are_words_like_others() -> None:
    """A file of somebody's own may hold dictionaries."""
    table = leads(
        {"mobilePhone": "202-555-0132", "blackListed": "yes", "country": "US"},
        {"mobilePhone": "020 7946 0000", "blackListed": "no", "country": "United Kingdom"},
    )
    for name in ("blackListed", "country", "mobilePhone"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    assert reasons(table) == {1: "suppressed", 2: None}


@pytest.mark.parametrize("odd", ["ja", "null", "2", 2, 0.5, "N/A", "y"])
def test_an_odd_word_in_a_suppress_column_is_an_error_and_never_a_no(odd: object) -> None:
    """The error counts them in all pieces and names the column, and does not show the cell."""
    table = leads(*[{"mobilePhone": "202-555-0132", "blackListed": odd}] * 5, {"mobilePhone": "202-555-0133"})
    with pytest.raises(InvalidInput, match="5 rows hold something other") as caught:
        prepare(table, PLAIN)
    assert caught.value.value == "blackListed"


def test_the_winner_is_the_lowest_id_or_what_keep_names() -> None:
    """The latest updatedAt in any zone, or a column's highest value; ties go to the lowest id."""
    same = "202-555-0132"
    table = leads(
        {"mobilePhone": same, "updatedAt": "2026-01-02T00:00:00Z", "score": "9"},
        {"mobilePhone": same, "updatedAt": "2026-01-01T23:00:00-08:00", "score": "10"},
        {"mobilePhone": same, "updatedAt": None, "score": "10.0"},
        {"mobilePhone": same, "updatedAt": "2026-01-02T07:00:00Z", "score": None},
    )

    def winner(keep: str) -> list[int]:
        return [row["id"] for row in prepare(table, AudienceRules(suppress=(), keep=keep))[0]]

    assert winner("lowest_id") == [1]
    assert winner("newest_updated") == [2]
    assert winner("score") == [2]


def test_the_row_that_stays_of_a_lead_is_the_same_in_any_order() -> None:
    """Also where only a column that no rule names tells the rows apart."""
    rows = [{"id": 1, "mobilePhone": "202-555-0132", "name": name} for name in ("Ann", "Bo", "Cy")]
    kept = [prepare(leads(*some), PLAIN)[0][0]["name"] for some in (rows, rows[::-1], rows[1:] + rows[:1])]
    assert len(set(kept)) == 1


def test_one_lead_in_several_rows_gets_one_text_and_a_yes_in_any_row_counts() -> None:
    """Two exports may hold one lead, with two numbers or with an older blocklist flag."""
    table = leads(
        {"mobilePhone": "202-555-0132"},
        {"id": 1, "mobilePhone": "202-555-0133"},
        {"mobilePhone": "202-555-0133"},
    )
    assert phones(table) == ["+12025550132", "+12025550133"]
    flagged = table.set_column(3, "blackListed", [[None, True, None]])
    assert reasons(flagged) == {1: "suppressed", 3: "suppressed_number"}
    assert prepare(flagged, PLAIN)[2].to_dict()["suppressed"] == 2


@pytest.mark.parametrize(
    ("rules", "field", "value"),
    [
        (AudienceRules(phone_fields=("mobilephone",), suppress=()), "phone_fields", "mobilephone"),
        (AudienceRules(), "suppress", "marketingSuspended"),
        (AudienceRules(suppress=(), country_field="land"), "country_field", "land"),
        (AudienceRules(suppress=(), keep="score"), "keep", "score"),
        (AudienceRules(suppress=(), keep="newest_updated"), "keep", "updatedAt"),
        (AudienceRules(suppress=(), where=read_conditions([("contry", "=", "US")])), "where", "contry"),
    ],
)
def test_a_column_that_a_rule_names_must_be_there(rules: AudienceRules, field: str, value: str) -> None:
    """A missing suppress column above all: it would suppress nobody."""
    with pytest.raises(InvalidInput) as caught:
        prepare(leads({"mobilePhone": "202-555-0132"}), rules)
    assert (caught.value.field, caught.value.value) == (field, value)


def test_only_the_default_country_column_may_be_missing() -> None:
    """A file without `country` is read in the default region."""
    table = leads({"mobilePhone": "202-555-0132"}).drop_columns(["country"])
    assert reasons(table) == {1: None}


@pytest.mark.parametrize("ids", [[1.5, 2.0], [None, 2], ["a", "b"]])
def test_ids_must_be_whole_numbers(ids: list[object]) -> None:
    """A person without an id could not be accounted for."""
    table = leads({"mobilePhone": "1"}, {"mobilePhone": "2"}).set_column(0, "id", [ids])
    with pytest.raises(InvalidInput, match="whole number"):
        prepare(table, PLAIN)


def test_an_empty_audience_is_a_success() -> None:
    """Nobody in, nobody out."""
    kept, rejected, funnel = prepare(leads({"mobilePhone": "1"}).slice(1), PLAIN)
    assert (kept, rejected, funnel) == ([], [], Funnel(0, 0))


def test_leads_that_change_between_two_readings_are_given_to_nobody() -> None:
    """The number of one person beside the name of another would be worse than no audience."""
    (rows,) = leads({"mobilePhone": "202-555-0132"}).to_batches()
    (others,) = leads({"id": 2, "mobilePhone": "202-555-0132"}).to_batches()
    verdicts = judge(lambda names: [rows], rows.schema.names, PLAIN)
    with pytest.raises(SmsFlowError, match="changed while they were being prepared"):
        verdicts.of(others, 0)


RULES = AudienceRules(
    phone_fields=("mobilePhone",),
    suppress=("blackListed",),
    where=read_conditions([("country", "=", "US")]),
    allow_list=NumberFile("allow.txt"),
    deny_list=NumberFile("deny.txt"),
)
LISTS = NumberLists(
    allow=PhoneSet.of(["+12025550132", "+12025550133"]), deny=PhoneSet.of(["+12025550133", "+12025550134"])
)


def test_the_further_rules_have_reasons_of_their_own() -> None:
    """Filtered before all, so that the rest speaks of those who were meant; denied before not allowed."""
    table = leads(
        {"country": "CA", "blackListed": True, "mobilePhone": "202-555-0139"},
        {"country": "US"},
        {"country": "US", "mobilePhone": "202-555-0134"},
        {"country": "US", "mobilePhone": "202-555-0133"},
        {"country": "US", "mobilePhone": "202-555-0135"},
        {"country": "US", "mobilePhone": "202-555-0132"},
    )
    assert reasons(table, RULES, LISTS) == {
        1: "filtered", 2: "no_phone", 3: "denied", 4: "denied", 5: "not_allowed", 6: None,
    }  # fmt: skip


def test_a_suppressed_leads_number_stays_suppressed_when_a_filter_drops_that_lead() -> None:
    """A filter says who is meant, and never that a blocklisted person may be texted."""
    table = leads(
        {"country": "CA", "blackListed": True, "mobilePhone": "202-555-0132"},
        {"country": "US", "mobilePhone": "202-555-0132"},
    )
    rules = AudienceRules(suppress=("blackListed",), where=RULES.where)
    assert reasons(table, rules) == {1: "filtered", 2: "suppressed_number"}


def test_whoever_is_filtered_out_takes_nobodys_place() -> None:
    """The lowest id wins among those who are meant."""
    table = leads(
        {"country": "CA", "mobilePhone": "202-555-0132"}, {"country": "US", "mobilePhone": "202-555-0132"}
    )
    rules = AudienceRules(suppress=("blackListed",), where=RULES.where)
    assert reasons(table, rules) == {1: "filtered", 2: None}


def test_nobody_who_is_held_out_gets_the_text_through_a_second_lead() -> None:
    """The holdout looks at the winner of each number; its other leads stay duplicates."""
    rules = AudienceRules(suppress=(), holdout=0.5)
    (first, *_) = [number for number in range(1, 50) if held_out([number], 0.5, "")[0]]
    table = leads({"id": first, "mobilePhone": "202-555-0132"}, {"id": 99, "mobilePhone": "202-555-0132"})
    assert reasons(table, rules) == {first: "holdout", 99: "duplicate"}


@pytest.mark.parametrize("keep", ["newest_updated", "lowest_id"])
def test_a_person_in_the_holdout_stays_there_whichever_lead_is_kept(keep: str) -> None:
    """Another lead of the number was changed last, or the lowest does not meet the conditions any more."""
    chosen = held_out(range(1, 50), 0.5, "")
    first = 1 + int(chosen.argmax())
    later = first + int(chosen[first - 1 :].argmin())
    rules = AudienceRules(suppress=(), holdout=0.5, keep=keep, where=RULES.where)
    for days in (("2026-01-02", "2026-01-01"), ("2026-01-02", "2026-01-03")):
        for country in ("US", "CA"):
            found = reasons(
                leads(
                    {"id": first, "mobilePhone": "202-555-0132", "country": country, "updatedAt": days[0]},
                    {"id": later, "mobilePhone": "202-555-0132", "country": "US", "updatedAt": days[1]},
                ),
                rules,
            )
            assert None not in found.values()
            assert "holdout" in found.values()


def test_too_many_people_stop_the_preparation() -> None:
    """The cap stops, it never cuts; whom the rules drop do not count."""
    table = leads(*({"mobilePhone": f"202-555-01{number}"} for number in range(10, 15)), {})
    assert prepare(table, AudienceRules(suppress=(), max_recipients=5))[2].kept == 5
    with pytest.raises(InvalidInput, match=r"has 5 people \(of 6 extracted\) and you allowed 4"):
        prepare(table, AudienceRules(suppress=(), max_recipients=4))


PHONES = st.sampled_from(
    [None, "", " ", "N/A", "555", *(f"202-555-01{n:02}" for n in range(6)), "+1 202 555 0101"]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 15),
            "mobilePhone": PHONES,
            "phone": PHONES,
            "country": st.sampled_from([None, "", "US", "United Kingdom", "Narnia"]),
            "blackListed": st.sampled_from([None, False, True]),
            "score": st.sampled_from([None, "", "1", "10", "9", "high", "low"]),
            "updatedAt": st.sampled_from(
                [None, "2026-01-02T00:00:00Z", "2026-01-02T01:00:00+02:00", "9999-12-31T00:00:00Z"]
            ),
            "name": st.sampled_from([None, "Ann", "Bo"]),
        }
    ),
    max_size=25,
)
KINDS = {"id": pa.int64(), "blackListed": pa.bool_()}
COLUMNS = ("id", "mobilePhone", "phone", "country", "blackListed", "score", "updatedAt", "name")
TYPES = pa.schema([(name, KINDS.get(name, pa.string())) for name in COLUMNS])
AS_WORDS = {None: "", False: "No", True: "TRUE"}


@settings(deadline=None, max_examples=200)
@given(
    rows=ROWS,
    keep=st.sampled_from(["lowest_id", "newest_updated", "score"]),
    scope=st.sampled_from(["number", "lead"]),
    where=st.sampled_from([[], [("country", "=", "US")], [("score", "!=", "9")]]),
    holdout=st.sampled_from([0.0, 0.4]),
    denied=st.sets(st.sampled_from([f"+1202555010{n}" for n in range(6)])),
    words=st.booleans(),
    at_once=st.integers(1, 30),
    random=st.randoms(use_true_random=False),
)
def test_everybody_has_the_reason_that_the_rules_say_in_whatever_order_they_come(
    rows: list[dict[str, Any]],
    keep: str,
    scope: str,
    where: list[Any],
    holdout: float,
    denied: set[str],
    words: bool,
    at_once: int,
    random: Any,
) -> None:
    """Random leads, in any order and in pieces of any size, against the rules written down row by row."""
    rules = AudienceRules(
        ("mobilePhone", "phone"),
        suppress=("blackListed",),
        suppress_scope=scope,
        keep=keep,
        where=read_conditions(where),
        deny_list=NumberFile("deny.txt"),
        holdout=holdout,
    )
    expected = plain_preparation(rows, rules, denied)
    random.shuffle(rows)
    table = pa.Table.from_pylist(rows, TYPES)
    if words:
        flags = [AS_WORDS[row["blackListed"]] for row in rows]
        table = table.set_column(TYPES.get_field_index("blackListed"), "blackListed", [flags])
    kept, rejected, funnel = prepare(table, rules, NumberLists(deny=PhoneSet.of(denied)), at_once)
    found = [(row, None) for row in kept] + [(row, row.pop("reason")) for row in rejected]
    assert Counter(told(row, row["phone"], reason) for row, reason in found) == expected
    assert (funnel.extracted, funnel.kept) == (len(rows), len(kept))
    assert funnel.rejected == {name: Counter(reason for _, reason in found)[name] for name in REASONS}

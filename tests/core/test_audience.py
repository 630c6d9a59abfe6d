"""Everybody is kept or has a reason; the winner never depends on the order of the rows."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_sms_flow.core.audience import judge, prepare, renamed_display_names
from airflow_sms_flow.core.conditions import Condition, read_conditions
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.filters import NumberLists, held_out
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.core.rules import AudienceRules, NumberFile

PLAIN = AudienceRules(suppress=("blackListed",))
BOTH = AudienceRules(phone_fields=("mobilePhone", "phone"), suppress=("blackListed",))


def leads(*rows: dict[str, Any]) -> pd.DataFrame:
    """A frame of leads; what a row leaves out is missing, ids count from 1."""
    columns = ["id", "mobilePhone", "country", "blackListed", *{name for row in rows for name in row}]
    whole = [{"id": number, **row} for number, row in enumerate(rows, start=1)]
    return pd.DataFrame(whole, columns=list(dict.fromkeys(columns))).astype({"id": "int64"})


def reasons(frame: pd.DataFrame, rules: AudienceRules = PLAIN) -> dict[int, str | None]:
    """Each lead's reason, None where kept."""
    verdicts = judge(frame, rules)
    return {
        lead: None if pd.isna(reason) else reason
        for lead, reason in zip(verdicts.id, verdicts.reason, strict=True)
    }


def test_each_reason_is_given_in_the_order_of_the_design() -> None:
    """suppressed, no_phone, invalid_phone, suppressed_number, duplicate: the first that fits is told."""
    frame = leads(
        {"mobilePhone": "", "blackListed": True},
        {"mobilePhone": "   "},
        {"mobilePhone": "N/A"},
        {"mobilePhone": "202-555-0132", "blackListed": True},
        {"mobilePhone": "+1 202 555 0132"},
        {"mobilePhone": "(202) 555-0133"},
        {"mobilePhone": "2025550133"},
    )
    assert reasons(frame) == {
        1: "suppressed", 2: "no_phone", 3: "invalid_phone", 4: "suppressed", 5: "suppressed_number",
        6: None, 7: "duplicate",
    }  # fmt: skip


def test_the_first_valid_phone_counts_and_any_phone_of_a_suppressed_lead_is_taboo() -> None:
    """A blocklisted person's work number must not be reached through a colleague's record."""
    frame = leads(
        {"mobilePhone": "junk", "phone": "202-555-0140"},
        {"mobilePhone": "202-555-0141", "phone": "202-555-0142", "blackListed": True},
        {"mobilePhone": "202-555-0142"},
    )
    assert reasons(frame, BOTH) == {1: None, 2: "suppressed", 3: "suppressed_number"}
    scope_lead = AudienceRules(phone_fields=BOTH.phone_fields, suppress=BOTH.suppress, suppress_scope="lead")
    assert reasons(frame, scope_lead)[3] is None


def test_a_number_is_read_in_the_country_of_its_lead_else_in_the_default_region() -> None:
    """A country that nobody understands is no reason to lose the person."""
    frame = leads(
        {"mobilePhone": "020 7946 0000", "country": "United Kingdom"},
        {"mobilePhone": "202-555-0132", "country": "Narnia"},
        {"mobilePhone": "202-555-0133"},
    )
    assert prepare(frame, PLAIN).audience["phone"].tolist() == [
        "+442079460000",
        "+12025550132",
        "+12025550133",
    ]


def test_the_extracted_work_phone_moves_aside_for_the_number_that_gets_the_text() -> None:
    """`phone` is E.164 in prepared files; Marketo's own `phone` is `phone_raw`, its tokens follow."""
    prepared = prepare(leads({"mobilePhone": "202-555-0132", "phone": "ext. 5"}), BOTH)
    assert prepared.audience.loc[0, ["phone", "phone_raw"]].tolist() == ["+12025550132", "ext. 5"]
    names = renamed_display_names({"Phone Number": "phone", "Country": "country"}, ["id", "phone", "country"])
    assert names == {"Phone Number": "phone_raw", "Country": "country", "phone": "phone_raw"}
    with pytest.raises(InvalidInput, match="phone_raw"):
        prepare(leads({"mobilePhone": "1", "phone": "1", "phone_raw": "1"}), BOTH)


@pytest.mark.parametrize("yes", [True, 1, 1.0, "true", "TRUE", " Yes ", "1", np.True_])
@pytest.mark.parametrize("no", [False, 0, "no", "False", "0", "", "  ", None, float("nan")])
def test_booleans_are_read_in_every_usual_form(yes: object, no: object) -> None:
    """Null or empty means not suppressed; a yes in any form suppresses."""
    frame = leads({"mobilePhone": "202-555-0132", "blackListed": yes}, {"mobilePhone": "202-555-0133"})
    frame["blackListed"] = pd.Series([yes, no], dtype=object)
    assert reasons(frame) == {1: "suppressed", 2: None}


@pytest.mark.parametrize("odd", ["ja", "null", "2", 2, 0.5, "N/A", "y"])
def test_an_odd_word_in_a_suppress_column_is_an_error_and_never_a_no(odd: object) -> None:
    """The error counts and names the column, and does not show the cell."""
    frame = leads({"mobilePhone": "202-555-0132"}, {"mobilePhone": "202-555-0133"})
    frame["blackListed"] = pd.Series([odd, True], dtype=object)
    with pytest.raises(InvalidInput, match="1 rows hold something other") as caught:
        prepare(frame, PLAIN)
    assert caught.value.value == "blackListed"


def test_the_winner_is_the_lowest_id_or_what_keep_names() -> None:
    """The latest updatedAt in any zone, or a column's highest value; ties go to the lowest id."""
    same = "202-555-0132"
    frame = leads(
        {"mobilePhone": same, "updatedAt": "2026-01-02T00:00:00Z", "score": "9"},
        {"mobilePhone": same, "updatedAt": "2026-01-01T23:00:00-08:00", "score": "10"},
        {"mobilePhone": same, "updatedAt": None, "score": "10.0"},
        {"mobilePhone": same, "updatedAt": "2026-01-02T07:00:00Z", "score": None},
    )

    def winner(keep: str) -> list[int]:
        return prepare(frame, AudienceRules(suppress=(), keep=keep)).audience["id"].tolist()

    assert winner("lowest_id") == [1]
    assert winner("newest_updated") == [2]
    assert winner("score") == [2]


def test_one_lead_in_several_rows_gets_one_text_and_a_yes_in_any_row_counts() -> None:
    """Two exports may hold one lead, with two numbers or with an older blocklist flag."""
    frame = leads(
        {"mobilePhone": "202-555-0132"},
        {"id": 1, "mobilePhone": "202-555-0133"},
        {"mobilePhone": "202-555-0133"},
    )
    assert prepare(frame, PLAIN).audience["phone"].tolist() == ["+12025550132", "+12025550133"]
    flagged = frame.assign(blackListed=[None, True, None])
    assert prepare(flagged, PLAIN).funnel.to_dict()["suppressed"] == 2
    assert prepare(flagged, PLAIN).funnel.kept == 0


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
    frame = leads({"mobilePhone": "202-555-0132"}).drop(columns="country")
    assert prepare(frame, PLAIN).funnel.kept == 1


@pytest.mark.parametrize("ids", [[1.5, 2.0], [None, 2], ["a", "b"]])
def test_ids_must_be_whole_numbers(ids: list[object]) -> None:
    """A person without an id could not be accounted for."""
    frame = leads({"mobilePhone": "1"}, {"mobilePhone": "2"}).assign(id=ids)
    with pytest.raises(InvalidInput, match="whole number"):
        prepare(frame, PLAIN)


def test_an_empty_audience_is_a_success_with_the_same_columns() -> None:
    """Nobody in, nobody out, and the next task finds its columns."""
    full, empty = leads({"mobilePhone": "202-555-0132"}), leads({"mobilePhone": "1"}).iloc[:0]
    prepared = prepare(empty, PLAIN)
    assert prepared.funnel.to_dict()["extracted"] == 0
    assert list(prepared.audience.columns) == list(prepare(full, PLAIN).audience.columns)
    assert list(prepared.rejected.columns) == [*prepared.audience.columns, "reason"]


def test_columns_keep_their_arrow_types() -> None:
    """A frame of Arrow types, as the operator reads it, gives the same types back."""
    table = pa.table(
        {"id": [1, 2], "mobilePhone": ["202-555-0132", None], "blackListed": [None, True], "x": [None, 1]}
    )
    prepared = prepare(table.to_pandas(types_mapper=pd.ArrowDtype), PLAIN)
    assert pa.Table.from_pandas(prepared.audience).schema.field("x").type == pa.int64()
    assert prepared.audience["phone"].tolist() == ["+12025550132"]
    assert prepared.rejected["reason"].tolist() == ["suppressed"]


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
    frame = leads(
        {"country": "CA", "blackListed": True, "mobilePhone": "202-555-0139"},
        {"country": "US"},
        {"country": "US", "mobilePhone": "202-555-0134"},
        {"country": "US", "mobilePhone": "202-555-0133"},
        {"country": "US", "mobilePhone": "202-555-0135"},
        {"country": "US", "mobilePhone": "202-555-0132"},
    )
    verdicts = judge(frame, RULES, LISTS)
    assert verdicts["reason"].fillna("").tolist() == [
        "filtered", "no_phone", "denied", "denied", "not_allowed", "",
    ]  # fmt: skip


def test_a_suppressed_leads_number_stays_suppressed_when_a_filter_drops_that_lead() -> None:
    """A filter says who is meant, and never that a blocklisted person may be texted."""
    frame = leads(
        {"country": "CA", "blackListed": True, "mobilePhone": "202-555-0132"},
        {"country": "US", "mobilePhone": "202-555-0132"},
    )
    rules = AudienceRules(suppress=("blackListed",), where=RULES.where)
    assert reasons(frame, rules) == {1: "filtered", 2: "suppressed_number"}


def test_whoever_is_filtered_out_takes_nobodys_place() -> None:
    """The lowest id wins among those who are meant."""
    frame = leads(
        {"country": "CA", "mobilePhone": "202-555-0132"}, {"country": "US", "mobilePhone": "202-555-0132"}
    )
    rules = AudienceRules(suppress=("blackListed",), where=RULES.where)
    assert reasons(frame, rules) == {1: "filtered", 2: None}


def test_nobody_who_is_held_out_gets_the_text_through_a_second_lead() -> None:
    """The holdout looks at the winner of each number; its other leads stay duplicates."""
    rules = AudienceRules(suppress=(), holdout=0.5)
    (first, *_) = [number for number in range(1, 50) if held_out([number], 0.5, "")[0]]
    frame = leads({"id": first, "mobilePhone": "202-555-0132"}, {"id": 99, "mobilePhone": "202-555-0132"})
    assert reasons(frame, rules) == {first: "holdout", 99: "duplicate"}


def test_too_many_people_stop_the_preparation() -> None:
    """The cap stops, it never cuts; whom the rules drop do not count."""
    frame = leads(*({"mobilePhone": f"202-555-01{number}"} for number in range(10, 15)), {})
    assert prepare(frame, AudienceRules(suppress=(), max_recipients=5)).funnel.kept == 5
    with pytest.raises(InvalidInput, match=r"has 5 people \(of 6 extracted\) and you allowed 4"):
        prepare(frame, AudienceRules(suppress=(), max_recipients=4))


PHONES = st.sampled_from(
    [None, "", " ", "N/A", "555", *(f"202-555-01{n:02}" for n in range(6)), "+1 202 555 0101"]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(1, 15),
            "mobilePhone": PHONES,
            "phone": PHONES,
            "country": st.sampled_from([None, "", "US", "United Kingdom", "Narnia"]),
            "blackListed": st.sampled_from([None, "", "false", "true", False, True, 0, 1]),
            "score": st.sampled_from([None, "", "1", "10", "9", "high"]),
        }
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=120)
@given(
    ROWS,
    st.sampled_from(["lowest_id", "score"]),
    st.sampled_from(["number", "lead"]),
    st.sampled_from([(), read_conditions([("country", "=", "US")]), read_conditions([("score", "!=", "9")])]),
    st.sampled_from([0.0, 0.4]),
    st.sets(st.sampled_from([f"+1202555010{n}" for n in range(6)])),
    st.randoms(),
)
def test_the_funnel_adds_up_and_the_order_of_rows_changes_nothing(
    rows: list[dict[str, Any]],
    keep: str,
    scope: str,
    where: tuple[Condition, ...],
    holdout: float,
    denied: set[str],
    random: Any,
) -> None:
    """Random leads: all accounted for, each number once, no suppressed lead or number, one result."""
    rules = AudienceRules(
        ("mobilePhone", "phone"),
        suppress=("blackListed",),
        suppress_scope=scope,
        keep=keep,
        where=where,
        deny_list=NumberFile("deny.txt"),
        holdout=holdout,
    )
    lists = NumberLists(deny=PhoneSet.of(denied))
    columns = ["id", "mobilePhone", "phone", "country", "blackListed", "score"]
    frame = pd.DataFrame(rows, columns=columns, dtype=object).astype({"id": "int64"})
    prepared = prepare(frame, rules, lists)
    assert prepared.funnel.extracted == len(rows) == len(prepared.audience) + len(prepared.rejected)
    assert not prepared.audience["phone"].isna().any()
    assert not prepared.audience["phone"].duplicated().any()
    assert not prepared.audience["id"].duplicated().any()
    flagged = {row["id"] for row in rows if row["blackListed"] in ("true", True, 1)}
    assert not flagged & set(prepared.audience["id"])
    if scope == "number":
        flagged_numbers = prepare(
            frame.assign(blackListed=None)[frame["id"].isin(flagged)],
            AudienceRules(("mobilePhone", "phone"), suppress=("blackListed",)),
        ).audience["phone"]
        assert not set(flagged_numbers) & set(prepared.audience["phone"])
    assert not denied & set(prepared.audience["phone"])
    assert not held_out(prepared.audience["id"].astype("int64"), holdout, "").any()
    random.shuffle(rows)
    again = prepare(pd.DataFrame(rows, columns=columns, dtype=object).astype({"id": "int64"}), rules, lists)
    pd.testing.assert_frame_equal(again.audience.astype(str), prepared.audience.astype(str))
    pd.testing.assert_frame_equal(again.rejected.astype(str), prepared.rejected.astype(str))

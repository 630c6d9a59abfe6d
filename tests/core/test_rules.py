"""Rules that cannot work are refused as early as can be; a funnel that does not add up cannot be made."""

from typing import Any

import pytest

from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.errors import BugError, InvalidInput
from airflow_sms_flow.core.rules import REASONS, AudienceRules, Funnel, NumberFile


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("phone_fields", ()),
        ("phone_fields", "mobilePhone"),
        ("phone_fields", ("mobilePhone", "mobilePhone")),
        ("suppress", ("a", "a")),
        ("default_region", "XX"),
        ("suppress_scope", "person"),
        ("country_field", ""),
        ("keep", ""),
        ("holdout", 1),
        ("holdout", -0.1),
        ("holdout", True),
        ("holdout_name", None),
        ("max_recipients", 0),
        ("max_recipients", True),
    ],
)
def test_a_rule_that_cannot_work_is_refused_by_name(rule: str, value: Any) -> None:
    """Field and value stand in the error, so that it can be mended at DAG parse."""
    with pytest.raises(InvalidInput) as caught:
        AudienceRules(**{rule: value})
    assert (caught.value.field, caught.value.value) == (rule, value)


def test_a_funnel_adds_up_or_is_not_made() -> None:
    """That is: extracted = kept + every reason's count."""
    assert sum(Funnel(5, 3, {"duplicate": 2}).rejected.values()) == 2
    with pytest.raises(BugError, match="does not add up"):
        Funnel(5, 3, {"duplicate": 1})
    with pytest.raises(BugError, match="unknown reasons"):
        Funnel(5, 3, {"boredom": 2})


def test_a_funnel_survives_the_way_through_json() -> None:
    """The flat form names every reason, and gives the same funnel back."""
    funnel = Funnel(10, 4, {"no_phone": 5, "suppressed": 1})
    assert list(funnel.to_dict()) == ["extracted", "kept", *REASONS]
    assert Funnel.from_dict(funnel.to_dict()) == funnel
    assert len({len(line) for line in str(funnel).splitlines()}) == 1


def test_rules_come_back_from_a_file_as_they_went_in() -> None:
    """A merge judges by the rules that stand in its pieces."""
    rules = AudienceRules(
        phone_fields=("mobilePhone", "phone"),
        where=read_conditions([("country", "in", ["US", "CA"]), ("score", ">=", 5), ("email", "is missing")]),
        deny_list=NumberFile("deny.csv", "cell"),
        holdout=0.1,
        max_recipients=5,
    )
    assert AudienceRules.from_json(rules.to_json()) == rules
    assert AudienceRules.from_json(AudienceRules().to_json()) == AudienceRules()

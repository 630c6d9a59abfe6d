"""Files and queries give what the smart list gives: typed, unique, private, and nothing in a log."""

import json
import logging
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators import ExtractFileOperator, ExtractQueryOperator, PrepareAudienceOperator
from airflow_sms_flow.storage import read_batches, read_schema

COLUMNS = {"mobilePhone": "cell", "id": "customer_id", "vip": "vip"}
CUSTOMERS = "SELECT customer_id, cell, vip, spare FROM customers ORDER BY customer_id"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))
    for conn_id, kind in [("warehouse", "sqlite"), ("sandbox", "vibes"), ("elsewhere", "no_such_database")]:
        connection = {"conn_type": kind, "host": str(tmp_path / "warehouse.db")}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


@pytest.fixture
def customers(tmp_path: Path) -> str:
    path = tmp_path / "customers.csv"
    path.write_text("customer_id,cell,vip,spare\n7,202-555-0132,yes,x\n8,N/A,null,y\n9,,no,z\n")
    return str(path)


@pytest.fixture
def warehouse(tmp_path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(tmp_path / "warehouse.db", isolation_level=None)
    connection.execute("CREATE TABLE customers (customer_id, cell, vip, spare)")
    rows = [(7, "202-555-0132", 1, "x"), (8, "N/A", None, "y"), (9, "", 0, "z")]
    connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", rows)
    return connection


def run(operator: Any, params: dict[str, Any] | None = None) -> Any:
    """Render and execute as Airflow would, and give what it returns."""
    ti = SimpleNamespace(
        dag_id="sms", run_id="r", task_id="extract", map_index=-1, xcom_push=lambda **_: None
    )
    context: Any = {"ti": ti, "params": params or {}}
    operator.render_template_fields(context)
    return operator.execute(context)


def from_file(path: str, **parameters: Any) -> Any:
    return run(ExtractFileOperator(task_id="extract", path=path, **({"columns": COLUMNS} | parameters)))


def from_query(sql: str = CUSTOMERS, **parameters: Any) -> Any:
    usual: dict[str, Any] = {"conn_id": "warehouse", "columns": COLUMNS}
    return run(ExtractQueryOperator(task_id="extract", sql=sql, **(usual | parameters)))


def rows(ref: Any) -> list[dict[str, Any]]:
    return [row for batch in read_batches(ref["path"]) for row in batch.to_pylist()]


def test_a_file_gives_the_mapped_columns_and_no_other(customers: str, tmp_path: Path) -> None:
    """Under our names, ids first and whole, everything else as it came; for the owner alone."""
    ref = from_file(customers)
    assert ref == {"path": f"{tmp_path}/files/sms/r/extract/leads.parquet", "rows": 3}
    assert rows(ref) == [
        {"id": 7, "mobilePhone": "202-555-0132", "vip": "yes"},
        {"id": 8, "mobilePhone": "N/A", "vip": None},
        {"id": 9, "mobilePhone": None, "vip": "no"},
    ]
    assert os.stat(ref["path"]).st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("warehouse")
def test_a_query_gives_the_same() -> None:
    """Whatever types the database has."""
    assert rows(from_query()) == [
        {"id": 7, "mobilePhone": "202-555-0132", "vip": "1"},
        {"id": 8, "mobilePhone": "N/A", "vip": None},
        {"id": 9, "mobilePhone": None, "vip": "0"},
    ]


def test_a_parquet_file_keeps_its_booleans(tmp_path: Path) -> None:
    """And without a mapping all of its columns."""
    path = tmp_path / "people"
    pq.write_table(pa.table({"x": [1.0, None], "id": [7.0, 8.0], "vip": [None, True]}), path)
    ref = from_file(str(path), columns=None, format="parquet")
    assert [str(one.type) for one in read_schema(ref["path"])] == ["int64", "string", "bool"]
    assert rows(ref)[0] == {"id": 7, "x": "1", "vip": None}


def test_what_they_give_can_be_prepared(customers: str) -> None:
    """The next step of the flow."""
    audience = run(PrepareAudienceOperator(task_id="prepare", audience=from_file(customers), suppress="vip"))
    assert audience["funnel"]["suppressed"] == 1
    assert audience["funnel"]["invalid_phone"] == 1


@pytest.mark.usefixtures("warehouse")
def test_a_query_may_stand_in_a_file_beside_the_dag(tmp_path: Path) -> None:
    """Rendered with Jinja, as Airflow does everywhere."""
    (tmp_path / "customers.sql").write_text("SELECT customer_id AS id FROM {{ params.table }}")
    with DAG("sms", schedule=None, template_searchpath=[str(tmp_path)]):
        operator = ExtractQueryOperator(task_id="extract", sql="customers.sql", conn_id="warehouse")
    operator.resolve_template_files()
    assert run(operator, {"table": "customers"})["rows"] == 3


@pytest.mark.usefixtures("warehouse")
def test_nobody_found_is_a_success_that_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """The next task finds its columns."""
    ref = from_query("SELECT customer_id, cell, vip FROM customers WHERE 0")
    assert (ref["rows"], read_schema(ref["path"]).names) == (0, ["id", "mobilePhone", "vip"])
    assert "there is nobody in it" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ("7\n7\n8\n7\n", "2 of 4 rows repeat the id of another"),
        ('7\n12.5\nAnn\n""\n', "3 of 4 rows hold no whole number"),
    ],
)
def test_an_id_that_is_none_is_an_error_that_counts(tmp_path: Path, ids: str, words: str) -> None:
    """The column and the count, never the cell; and no file is left for the next task."""
    path = tmp_path / "people.csv"
    path.write_text(f"customer_id\n{ids}")
    with pytest.raises(AirflowFailException, match=words) as caught:
        from_file(str(path), columns={"id": "customer_id"})
    assert "id='customer_id'" in str(caught.value)
    assert "Ann" not in str(caught.value)
    assert list((tmp_path / "files").rglob("*.*")) == []


def test_a_stray_quotation_mark_leaves_no_file(tmp_path: Path) -> None:
    """Half of the people, or none of their wishes, must not go on to the next task."""
    path = tmp_path / "people.csv"
    path.write_text('customer_id\n7\n"8\n9\n')
    with pytest.raises(AirflowFailException, match="quotation mark opens in line 3"):
        from_file(str(path), columns={"id": "customer_id"})
    assert list((tmp_path / "files").rglob("*.*")) == []


@pytest.mark.usefixtures("warehouse")
def test_nobodys_data_is_logged(
    customers: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor the values of placeholders, which the database's own hook would log."""
    with caplog.at_level(logging.DEBUG):
        from_file(customers)
        from_query("SELECT customer_id, cell, vip FROM customers WHERE cell = ?", parameters=["202-555-0132"])
    said = caplog.text + "".join(capfd.readouterr())
    assert "Extracted" in said
    assert "555" not in said


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"columns": {"id": "costumer_id"}}, "did you mean customer_id"),
        ({"columns": {"id": "customer_id", "x": "zzz"}}, "columns='zzz'"),
        ({"columns": None}, "no column id"),
        ({"columns": "{{ params.columns }}"}, "is no JSON"),
        ({"format": "{{ params.format }}"}, "format='xlsx'"),
        ({"format": "parquet"}, "not a Parquet file"),
        ({"delimiter": ";"}, "no such column"),
    ],
)
def test_a_wrong_file_or_mapping_fails_at_once_by_name(
    customers: str, parameters: dict[str, Any], words: str
) -> None:
    """Field, value, remedy; and no retry, which could not help."""
    operator = ExtractFileOperator(task_id="x", path=customers, **({"columns": COLUMNS} | parameters))
    with pytest.raises(AirflowFailException, match=words):
        run(operator, {"format": "xlsx", "columns": "id"})


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"conn_id": "nowhere"}, "there is no connection 'nowhere'"),
        ({"conn_id": "sandbox"}, "'vibes', which is no database"),
        ({"conn_id": "elsewhere"}, "apache-airflow-providers-no-such-database"),
        ({"sql": "SELECT * FROM costumers"}, "no such table"),
        ({"sql": "SELECT customer_id FROM customers"}, "columns='cell'"),
    ],
)
def test_a_wrong_query_or_connection_fails_at_once_by_name(parameters: dict[str, Any], words: str) -> None:
    """The same for databases."""
    with pytest.raises(AirflowFailException, match=words):
        from_query(**parameters)


def test_without_the_package_for_databases_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's core alone does not have it."""
    monkeypatch.setitem(__import__("sys").modules, "airflow.providers.common.sql.hooks.sql", None)
    with pytest.raises(AirflowFailException, match="apache-airflow-providers-common-sql"):
        from_query()


@pytest.mark.parametrize(
    ("kind", "parameters", "field"),
    [
        (ExtractFileOperator, {"path": ""}, "path"),
        (ExtractFileOperator, {"path": "people.xlsx"}, "format"),
        (ExtractFileOperator, {"path": "people.csv", "format": "xlsx"}, "format"),
        (ExtractFileOperator, {"path": "people.csv", "delimiter": ";;"}, "delimiter"),
        (ExtractFileOperator, {"path": "people.csv", "delimiter": "§"}, "delimiter"),
        (ExtractFileOperator, {"path": "people.csv", "columns": {"mobilePhone": "cell"}}, "columns"),
        (ExtractQueryOperator, {"sql": " ;", "conn_id": "warehouse"}, "sql"),
        (ExtractQueryOperator, {"sql": "SELECT 1", "conn_id": ""}, "conn_id"),
        (ExtractQueryOperator, {"sql": "SELECT 1", "conn_id": "w", "parameters": 5}, "parameters"),
        (ExtractQueryOperator, {"sql": "SELECT 1", "conn_id": "w", "columns": ["id"]}, "columns"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_refused_there(
    kind: Any, parameters: dict[str, Any], field: str
) -> None:
    """At parse, before anything runs."""
    with pytest.raises(InvalidInput) as caught:
        kind(task_id="extract", **parameters)
    assert caught.value.field == field

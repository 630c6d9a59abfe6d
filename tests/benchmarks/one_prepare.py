"""One preparation in a process of its own: by our operator, or as one would write it oneself.

    python -m tests.benchmarks.one_prepare WAY LEADS FOLDER

Tells in JSON how many were kept and a digest of their ids, the seconds it took (wall and CPU), and its
resident memory before and at its highest. All ways read Parquet and write Parquet with zstd. `plain` writes
the kept only; the others write the rejected, too, each with our reasons, and take their phone column from our
`normalise_phones`. Who is suppressed takes their number along.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import phonenumbers
import pyarrow.parquet as pq

from tests.benchmarks.measuring import peak_mb

Work = Callable[[], str]


def main() -> None:
    way, leads, folder = sys.argv[1:]
    work = WAYS[way](leads, folder)
    before, began, cpu = peak_mb(), time.monotonic(), time.process_time()
    kept = work()
    told: dict[str, Any] = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    told |= {"before_mb": before, "peak_mb": peak_mb()}
    ids = np.sort(pq.read_table(kept, columns=["id"]).column("id").to_numpy())
    told |= {"kept": len(ids), "digest": hashlib.sha256(ids.tobytes()).hexdigest()}
    print(json.dumps(told), flush=True)


def ours(leads: str, folder: str) -> Work:
    """As Airflow's task runner would execute it."""
    import airflow.sdk.execution_time.task_runner  # Airflow's own share of a task's memory

    from airflow_sms_flow.operators import PrepareAudienceOperator

    operator = PrepareAudienceOperator(task_id="prepare", audience=leads)
    operator.dag = airflow.sdk.DAG("speed", schedule=None)
    ti = SimpleNamespace(dag_id="speed", run_id="run", task_id="prepare", map_index=-1, max_tries=0)
    ti.xcom_push = lambda key, value: None
    context: Any = {"ti": ti}
    return lambda: str(operator.execute(context)["path"])


def plain(leads: str, folder: str) -> Work:
    """The script that people write."""

    def e164(number: Any, country: Any) -> str | None:
        if pd.isna(number):
            return None
        region = "CA" if country == "CA" else "US"
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(parsed):
            return None
        return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)

    def work() -> str:
        df = pd.read_parquet(leads)
        df["phone"] = [
            e164(number, country) for number, country in zip(df.mobilePhone, df.country, strict=True)
        ]
        out = (df.blackListed == True) | (df.marketingSuspended == True)  # noqa: E712  # null is no
        df = df[~out & ~df.phone.isin(df.phone[out].dropna())].dropna(subset=["phone"])
        df = df.sort_values("id").drop_duplicates("phone")
        df.to_parquet(f"{folder}/kept.parquet", compression="zstd", index=False)
        return f"{folder}/kept.parquet"

    return work


def pandas(leads: str, folder: str) -> Work:
    """The same script with our phones, and everybody accounted for."""

    def work() -> str:
        df = pd.read_parquet(leads)
        df["phone"] = _phones(df.mobilePhone, df.country)
        out = (df.blackListed == True) | (df.marketingSuspended == True)  # noqa: E712  # null is no
        tests = {
            "suppressed": out,
            "no_phone": df.mobilePhone.fillna("").str.strip() == "",
            "invalid_phone": df.phone.isna(),
            "suppressed_number": df.phone.isin(df.phone[out].dropna()),
        }
        df["reason"] = np.select(
            [test.to_numpy(dtype=bool) for test in tests.values()], list(tests), default=""
        )
        df = df.sort_values("id")
        df.loc[(df.reason == "") & df[df.reason == ""].phone.duplicated().reindex(df.index), "reason"] = (
            "duplicate"
        )
        kept = df.reason == ""
        df[kept].drop(columns="reason").to_parquet(f"{folder}/kept.parquet", compression="zstd", index=False)
        df[~kept].to_parquet(f"{folder}/rejected.parquet", compression="zstd", index=False)
        return f"{folder}/kept.parquet"

    return work


def polars(leads: str, folder: str) -> Work:
    """Polars, with our phones."""
    import polars as pl

    def work() -> str:
        df = pl.read_parquet(leads)
        phones = _phones(df["mobilePhone"].to_pandas(), df["country"].to_pandas())
        df = df.with_columns(phone=pl.from_pandas(phones))
        out = pl.col("blackListed").fill_null(False) | pl.col("marketingSuspended").fill_null(False)
        taboo = df.filter(out)["phone"].drop_nulls().unique()
        reason = (
            pl.when(out).then(pl.lit("suppressed"))
            .when(pl.col("mobilePhone").fill_null("").str.strip_chars() == "").then(pl.lit("no_phone"))
            .when(pl.col("phone").is_null()).then(pl.lit("invalid_phone"))
            .when(pl.col("phone").is_in(taboo.implode())).then(pl.lit("suppressed_number"))
        )  # fmt: skip
        df = df.with_columns(reason=reason)
        first = pl.col("id") == pl.col("id").min().over("phone", "reason")
        df = df.with_columns(
            reason=pl.when(pl.col("reason").is_null() & ~first)
            .then(pl.lit("duplicate"))
            .otherwise(pl.col("reason"))
        )
        kept = pl.col("reason").is_null()
        df.filter(kept).drop("reason").write_parquet(f"{folder}/kept.parquet", compression="zstd")
        df.filter(~kept).write_parquet(f"{folder}/rejected.parquet", compression="zstd")
        return f"{folder}/kept.parquet"

    return work


def duckdb(leads: str, folder: str) -> Work:
    """DuckDB, with our phones."""
    import duckdb as engine

    sql = f"""
CREATE TABLE judged AS
WITH leads AS (SELECT a.*, b.phone FROM read_parquet('{leads}') a JOIN phones b USING (id)),
flagged AS (
    SELECT *, coalesce("blackListed", false) OR coalesce("marketingSuspended", false) AS out FROM leads),
alone AS (
    SELECT *, CASE
        WHEN out THEN 'suppressed'
        WHEN coalesce(trim("mobilePhone"), '') = '' THEN 'no_phone'
        WHEN phone IS NULL THEN 'invalid_phone'
        WHEN phone IN (SELECT phone FROM flagged WHERE out AND phone IS NOT NULL) THEN 'suppressed_number'
    END AS why FROM flagged),
winners AS (SELECT min(id) AS id FROM alone WHERE why IS NULL GROUP BY phone)
SELECT alone.* EXCLUDE (out, why),
    CASE WHEN why IS NULL AND winners.id IS NULL THEN 'duplicate' ELSE why END AS reason
FROM alone LEFT JOIN winners ON alone.id = winners.id;
COPY (SELECT * EXCLUDE (reason) FROM judged WHERE reason IS NULL)
    TO '{folder}/kept.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY (SELECT * FROM judged WHERE reason IS NOT NULL)
    TO '{folder}/rejected.parquet' (FORMAT parquet, COMPRESSION zstd);
"""

    def work() -> str:
        with engine.connect() as connection:
            read = connection.execute(
                f"""SELECT id, "mobilePhone", country FROM read_parquet('{leads}')"""
            ).df()
            phones = pd.DataFrame({"id": read.id, "phone": _phones(read.mobilePhone, read.country)})
            connection.register("phones", phones)
            connection.execute(sql)
        return f"{folder}/kept.parquet"

    return work


def _phones(numbers: Any, countries: Any) -> Any:
    from airflow_sms_flow.core.phone import normalise_phones

    regions = countries.map({"CA": "CA"}).astype(object)
    return normalise_phones(numbers, regions.where(regions.notna(), "US"))


WAYS: dict[str, Callable[[str, str], Work]] = {
    "ours": ours,
    "plain": plain,
    "pandas": pandas,
    "polars": polars,
    "duckdb": duckdb,
}

if __name__ == "__main__":
    main()

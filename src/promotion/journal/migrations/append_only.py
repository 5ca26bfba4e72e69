"""How a table is kept from losing or changing rows, for the migrations that make one; they rely on it as it is."""

from __future__ import annotations


def append_only(table: str, *keys: str, is_postgresql: bool) -> list[str]:
    """The statements that let a table only grow.

    Args:
        table: One of ours.
        keys: Columns that tell its rows apart.
        is_postgresql: Otherwise SQLite.
    """
    if is_postgresql:
        function = f"{table}_append_only"
        body = f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
        what = f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT"
        return [
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {body}",
            f"CREATE TRIGGER {function} {what} EXECUTE FUNCTION {function}()",
        ]
    refusal = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    same = " OR ".join(f"{key} = NEW.{key}" for key in keys)
    # INSERT OR REPLACE deletes without telling the trigger on DELETE.
    exists = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  # names of our own tables
    return [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refusal}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refusal}",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} {exists} {refusal}",
    ]

"""Asks one question of a store: `python -m infra.queries STORE QUESTION [NAME=VALUE ...]`, with the DuckDB that make installs.

STORE is a folder with a copy of the store, or its URL; QUESTION is a file of `duckdb/` without `.sql`; a NAME is what its head
says that it wants, such as uid. Absent: other forms than a table. For those there is DuckDB's own command line.
"""

import argparse
import sys
from pathlib import Path

import duckdb

FOLDER = Path(__file__).resolve().parent / "duckdb"
QUESTIONS = sorted(path.stem for path in FOLDER.glob("*.sql") if path.stem != "views")
ROWS_MAX = 10_000
"""Rows that are shown; DuckDB says how many there are."""


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, such as uid=order-1, not {text}")
    return name, value


def main(arguments: list[str]) -> int:
    """Prints the answer. Exit code 0, 1 if the store cannot be asked, or 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m infra.queries", description="Ask a question of a store.")
    parser.add_argument("store", metavar="STORE", help="a folder with a copy of the store, or s3://bucket/relay")
    parser.add_argument("question", metavar="QUESTION", choices=QUESTIONS, help=", ".join(QUESTIONS))
    parser.add_argument("settings", metavar="NAME=VALUE", nargs="*", type=_setting, help="what the question wants to know")
    asked = parser.parse_args(arguments)
    if asked.question == "life" and "uid" not in dict(asked.settings):
        parser.error("expected uid=UID: life is about one measurement")
    if "://" not in asked.store and not Path(asked.store).is_dir():
        print(f"expected a folder, and {asked.store} is none", file=sys.stderr)
        return 1
    with duckdb.connect() as database:
        try:
            for name, value in [("store", asked.store), *asked.settings]:
                database.execute(f"SET VARIABLE {name} = $1", [value])
            database.execute((FOLDER / "views.sql").read_text())
            database.sql((FOLDER / f"{asked.question}.sql").read_text()).show(max_rows=ROWS_MAX, max_width=10_000)
        except duckdb.Error as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

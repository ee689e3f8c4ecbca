"""The other side of `tests/arrow_python.rs`: pyarrow and polars read the file of ours and write files for us.

    arrow_python.py check PATH      compares a file that mempool-arrays wrote with what it should hold
    arrow_python.py write DIRECTORY writes pyarrow.arrow and polars.arrow there

What both hold is computed from the number of the row, here as in the test.
"""

import datetime
import decimal
import pathlib
import sys

import polars
import pyarrow
import pyarrow.ipc

ROWS = 1000
MODES = ("AIR", "RAIL", "SHIP")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.date(1970, 1, 1)


def row(n):
    return {
        "id": n * n - 7,
        "name": None if n % 3 == 1 else f"row {n} é",
        "mode": MODES[n % 3],
        "flag": None if n % 5 == 0 else n % 2 == 0,
        "day": DAY + datetime.timedelta(days=n),
        "price": decimal.Decimal(n * 25).scaleb(-2),
        "at": EPOCH + datetime.timedelta(microseconds=n * 1_000_003),
        "list": [n] * (n % 4),
        "quarter": n / 4,
        "blob": bytes([n % 256]) * (n % 3),
        "point": {"x": n / 2, "y": -n},
        "large": 2**64 - 1 - n,
    }


def check(path):
    expected = [row(n) for n in range(ROWS)]
    with pyarrow.ipc.open_file(path) as file:
        assert file.num_record_batches == 2
        table = file.read_all()
    table.validate(full=True)
    assert table.to_pylist() == expected
    assert table.schema.field("day").type == pyarrow.date32()
    assert table.schema.field("price").type == pyarrow.decimal128(15, 2)
    assert table.schema.field("at").type == pyarrow.timestamp("us", "UTC")
    assert pyarrow.types.is_dictionary(table.schema.field("mode").type)
    assert not table.schema.field("id").nullable and table.schema.field("name").nullable
    frame = polars.read_ipc(path)
    assert frame.to_dicts() == expected
    mapped = polars.scan_ipc(path).select("id").collect()
    assert mapped["id"].to_list() == [row["id"] for row in expected]


def write(directory):
    rows = [row(n) for n in range(ROWS)]
    column = lambda name: [row[name] for row in rows]
    words = [None if n % 4 == 0 else f"w{n % 7}" for n in range(ROWS)]
    table = pyarrow.table(
        {
            "id": pyarrow.array(column("id"), pyarrow.int64()),
            "name": pyarrow.array(column("name"), pyarrow.string()),
            "long": pyarrow.array(column("name"), pyarrow.large_string()),
            "view": pyarrow.array(column("name"), pyarrow.string_view()),
            "word": pyarrow.array(words, pyarrow.string()).dictionary_encode(),
            "flag": pyarrow.array(column("flag"), pyarrow.bool_()),
            "day": pyarrow.array(column("day"), pyarrow.date32()),
            "price": pyarrow.array(column("price"), pyarrow.decimal128(15, 2)),
            "at": pyarrow.array(column("at"), pyarrow.timestamp("ns", "Europe/Oslo")),
            "list": pyarrow.array(column("list"), pyarrow.list_(pyarrow.int32())),
            "map": pyarrow.array(
                [[(f"k{i}", n) for i in range(n % 3)] for n in range(ROWS)],
                pyarrow.map_(pyarrow.string(), pyarrow.int32()),
            ),
            "quarter": pyarrow.array(column("quarter"), pyarrow.float32()),
            "blob": pyarrow.array(column("blob"), pyarrow.binary()),
            "fixed": pyarrow.array([bytes([n % 256] * 3) for n in range(ROWS)], pyarrow.binary(3)),
            "point": pyarrow.array(column("point"), pyarrow.struct({"x": "float64", "y": "int64"})),
            "nothing": pyarrow.nulls(ROWS),
        }
    )
    path = str(directory / "pyarrow.arrow")
    with pyarrow.ipc.new_file(path, table.schema) as file:
        # Slices start in the middle of bytes of bitmaps.
        file.write_table(table.slice(0, 333))
        file.write_table(table.slice(333))
    names = ("id", "name", "flag", "day", "at", "list", "quarter", "blob", "point", "large")
    frame = polars.DataFrame({name: column(name) for name in names}, strict=False)
    frame = frame.with_columns(polars.Series("word", words, polars.Categorical))
    frame.write_ipc(directory / "polars.arrow", compression="uncompressed")


if __name__ == "__main__":
    command, path = sys.argv[1:]
    {"check": check, "write": write}[command](pathlib.Path(path))
    print(f"pyarrow {pyarrow.__version__}, polars {polars.__version__}")

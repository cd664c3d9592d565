"""The files beside a record: its tables as CSV, its figure data as npz, each with its checksum."""

import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dreal_lib.errors import UserError
from dreal_lib.records.arrays import Array, FigureData, check_figure_data
from dreal_lib.records.schema import CompanionFile, CompanionFiles
from dreal_lib.runtime.atomic import write_bytes_atomic, write_text_atomic

Table = dict[str, list]  # values by column; `pandas.DataFrame` takes it as it is


def companion_path(path: Path | str, kind: Literal["history", "blocks", "figure_data"]) -> Path:
    """Where a companion of the record at `path` lies, e.g. `seed0.history.csv`."""
    suffixes = {"history": "history.csv", "blocks": "blocks.csv", "figure_data": "figures.npz"}
    path = Path(path)
    return path.with_name(f"{path.stem}.{suffixes[kind]}")


def write_table(
    path: Path | str, rows: Sequence[Mapping[str, object]], columns: Iterable[str]
) -> CompanionFile:
    """Write a companion CSV with exactly these columns, numbers with nine digits.

    Args:
        path: Where it goes; its folder is made.
        rows: Values by column; NaN, and what a row lacks, become an empty cell.
        columns: Names, in their order in the file; others are left out.

    Returns:
        What a record says of the file.

    Raises:
        UserError: If no row has a column, or the file cannot be written.
    """
    columns = list(columns)
    missing = [column for column in columns if not any(column in row for row in rows)]
    if missing:
        raise UserError(f"table for {path} lacks the column(s) {', '.join(missing)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return CompanionFile(name=Path(path).name, sha256=write_text_atomic(path, text.getvalue()))


def _cell(value: object) -> object:
    if isinstance(value, float):  # NumPy's float64 is one
        return "" if math.isnan(value) else f"{value:.9g}"
    return "" if value is None else value


def write_figure_data(
    path: Path | str, arrays: Mapping[str, np.ndarray], declared: Iterable[Array] | None = None
) -> CompanionFile:
    """Write named arrays as a compressed npz that loads without pickle.

    Args:
        path: Where it goes; its folder is made.
        arrays: By name.
        declared: What the task says it keeps (`check_figure_data`); None: nothing is compared.

    Raises:
        UserError: If an array holds Python objects or is not as declared, or the file cannot be
            written.
    """
    arrays = {str(name): np.asarray(array) for name, array in arrays.items()}
    if declared is not None:
        check_figure_data(arrays, declared)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise UserError(f"figure data {name!r} holds Python objects; give numbers or text")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return CompanionFile(name=Path(path).name, sha256=write_bytes_atomic(path, buffer.getvalue()))


def read_table(record: Path, companion: CompanionFile, columns: Iterable[str]) -> Table:
    """A companion CSV: each column whole numbers, else numbers (an empty cell is NaN), else text.

    Args:
        record: Path of the record that names it.
        companion: What the record says of it.
        columns: Names that it must have.

    Raises:
        UserError: If it is not the file that the record was written with, or lacks a column.
    """
    beside = record.with_name(companion.name)
    content = checked_content(record, companion)
    try:
        header, *rows = csv.reader(io.StringIO(content.decode()), strict=True)
        cells = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    except (ValueError, csv.Error) as error:
        raise _unreadable(beside, "a readable table", error) from error
    table = {name: _typed(cells.get(name, ())) for name in header}
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(
            f"{beside} lacks the column(s) {', '.join(missing)}; restore it or run the recipe again"
        )
    return table


def _typed(cells: Sequence[str]) -> list:
    for kind in (int, lambda cell: float(cell or "nan")):
        try:
            return [kind(cell) for cell in cells]
        except ValueError:
            continue
    return list(cells)


def read_figure_data(record: Path, companion: CompanionFile) -> FigureData:
    """The arrays of a companion npz by name; nothing is unpickled.

    Raises:
        UserError: If it is not the file that the record was written with, or cannot be read.
    """
    content = checked_content(record, companion)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return FigureData({name: arrays[name] for name in arrays.files}, record)
    except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise _unreadable(
            record.with_name(companion.name), "readable figure data", error
        ) from error


def check_companions(record: Path, files: CompanionFiles) -> None:
    """Compare the files beside a record with what it says of them.

    Raises:
        UserError: If one is not there, or is not the one that the record was written with.
    """
    for companion in files.present:
        checked_content(record, companion)


def checked_content(record: Path, companion: CompanionFile) -> bytes:
    """The bytes of a file beside a record.

    Raises:
        UserError: If it cannot be read, or its SHA-256 is not the one that the record gives.
    """
    beside = record.with_name(companion.name)
    try:
        content = beside.read_bytes()
    except OSError as error:
        raise UserError(
            f"{beside}, which {record.name} names, cannot be read ({error.strerror or error}); "
            "restore it or run the recipe again"
        ) from error
    if hashlib.sha256(content).hexdigest() != companion.sha256:
        raise UserError(
            f"{beside} is not the file that {record.name} was written with (its SHA-256 differs); "
            "restore it or run the recipe again"
        )
    return content


def _unreadable(path: Path, what: str, error: Exception) -> UserError:
    return UserError(
        f"{path} is not {what} ({' '.join(str(error).split())}); restore it or run the recipe again"
    )

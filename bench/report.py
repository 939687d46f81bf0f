"""The rows as a table and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence

from bench.rows import Row

HEADINGS = ("", "ours", "rival", "unit", "ratio", "rival is")


def as_table(rows: Iterable[Row]) -> str:
    """Columns of text; the ratio says how many times as good as the rival we are."""
    lines = [HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, numbers to the right."""
    padded = [
        cell.rjust(width) if heading in ("ours", "rival", "ratio") else cell.ljust(width)
        for heading, cell, width in zip(HEADINGS, cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        short(row.our_median),
        short(row.rival_median),
        row.unit,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.rival_name,
    )


def short(value: float | None) -> str:
    """Three digits that count, or all of them before the point; nothing for None."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def as_json(rows: Iterable[Row], environment: Mapping[str, str]) -> str:
    """Everything, the values of the single runs too."""
    return json.dumps(
        {
            "environment": dict(environment),
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "ours": row.our_median,
                    "rival": row.rival_median,
                    "rival_name": row.rival_name or None,
                    "ratio": row.ratio,
                    "is_more_better": row.is_more_better,
                    "our_runs": list(row.ours),
                    "rival_runs": list(row.rival),
                }
                for row in rows
            ],
        },
        indent=2,
    )

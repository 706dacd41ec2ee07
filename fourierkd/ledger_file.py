"""The file of a spectral ledger: in flow bands of every level at a validation, out flow bytes.

``engine.hooks.ledger`` writes it, ``analysis.ledger`` reads it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

# Column -> type in Arrow. Powers are in squared units of the map, frequencies in fractions of
# Nyquist; what each number is stands in ``spectral.cross_spectrum.BandRecord``.
COLUMNS = {
    "iter": "int64",
    "epoch": "int64",
    "layer": "string",  # the student's, such as "neck, stride 8"
    "teacher_layer": "string",  # null without a teacher
    "loss": "string",  # that compares the two; null where none does
    "compared": "string",  # in words, with the connector
    "height": "int64",  # of the maps of the first image
    "width": "int64",
    "channels": "int64",  # of the student's map
    "teacher_channels": "int64",
    "images": "int64",
    "images_digest": "string",  # equal where two runs looked at the same pixels
    "teacher_sha256": "string",
    "low": "double",
    "high": "double",
    "frequencies": "int64",
    "student_power": "double",
    "student_share": "double",
    "teacher_power": "double",
    "teacher_share": "double",
    "share_error": "double",
    "connected_power": "double",
    "amplitude_error": "double",
    "cross_power": "double",
    "coherence": "double",
    "phase_coherence": "double",
}


def ledger_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The Parquet file of one validation; every file has all of COLUMNS, in order.

    Args:
        rows: a level and band each; a column that a row lacks, or None, is null.
    """
    import pyarrow
    import pyarrow.json
    import pyarrow.parquet

    # By way of JSON: pyarrow's own conversion of Python values loads pandas, which takes a second.
    schema = pyarrow.schema(list(COLUMNS.items()))
    lines = "".join(json.dumps(dict(row), allow_nan=False) + "\n" for row in rows)
    table = pyarrow.json.read_json(
        io.BytesIO(lines.encode()),
        read_options=pyarrow.json.ReadOptions(use_threads=False),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="error"
        ),
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()

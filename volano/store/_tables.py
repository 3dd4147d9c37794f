"""The store's tables. Times are seconds since 1970, UTC; JSON columns hold plain values."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "artifacts",
    "champions",
    "feedback",
    "fingerprints",
    "golden",
    "meta",
    "metadata",
    "predictions",
    "runs",
    "tests",
    "turns",
]

metadata = sa.MetaData()
_counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")

meta = sa.Table(
    "volano_meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# What went in -> what came out: the cache, and the lineage of every artifact.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("lineage", sa.JSON, nullable=False),
    sa.Column("summary", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
)

# Which turn's bundle serves, since when, and why. The row with the highest place holds.
champions = sa.Table(
    "champions",
    metadata,
    sa.Column("place", _counter, primary_key=True, autoincrement=True),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# Golden rows, frozen for the life of the wheel: one row, written once.
golden = sa.Table(
    "golden",
    metadata,
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# Each different question put to the golden rows spends a part of alpha, once.
tests = sa.Table(
    "tests",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("at", sa.Float, nullable=False),
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("probability", sa.Float),
    # Small where a label is worth most: see LoggedPrediction.
    sa.Column("gap", sa.Float),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("predictions_gap", "gap"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("place", _counter, primary_key=True, autoincrement=True),
    # Null for a labelled row that came without a prediction.
    sa.Column("prediction_id", sa.Text, index=True),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# File fingerprints, so that an unchanged file is not hashed again.
fingerprints = sa.Table(
    "fingerprints",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("modified_ns", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)

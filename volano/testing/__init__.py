"""Conformance checks for those who add a column type, an encoder, a task or a
compression pass.

Each raises `AssertionError` that says which promise of the contract is broken:

>>> from volano.testing import check_column
>>> check_column("category", ["good", "bad", "good"]).name
'a column'
"""

from volano.testing._columns import check_column
from volano.testing._encoders import check_encoder, check_table_encoder
from volano.testing._passes import GraphWork, check_pass
from volano.testing._tasks import check_task

__all__ = [
    "GraphWork",
    "check_column",
    "check_encoder",
    "check_pass",
    "check_table_encoder",
    "check_task",
]

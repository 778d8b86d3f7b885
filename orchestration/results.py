"""The type of what an asset returns, for the type checker and for Dagster."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    Result = dg.MaterializeResult[Any]
else:
    # Dagster knows the class in an annotation, and not the class with its parameter.
    Result = dg.MaterializeResult

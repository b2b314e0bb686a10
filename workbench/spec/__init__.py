"""What an experiment is: frozen dataclasses of scientific choices only.

Nothing here names a device, a path, a worker count or a log option, so two specs that are equal describe the same
result wherever it is computed. The key of a spec (see `identity`) covers every field, nested specs included.
This module imports neither torch nor any other heavy package: studies, planning and the dashboard read it.
"""

from __future__ import annotations

from workbench.spec.arms import (
    Arm,
    arm,
    grid,
    with_fields,
    zipped,
)
from workbench.spec.models import (
    AutoregressiveFlowSpec,
    BackboneSpec,
    ClassifierSpec,
    CouplingFlowSpec,
    DiffusionSpec,
    GANSpec,
    LadderVAESpec,
    LatentDiffusionSpec,
    ModelSpec,
    Prediction,
    ScheduleSpec,
    VAESpec,
    Variance,
)
from workbench.spec.study import (
    SCALES,
    Claim,
    Ratio,
    Scale,
    Slope,
    Study,
)
from workbench.spec.trials import (
    BudgetSpec,
    DataSpec,
    FitSpec,
    MeasureSpec,
    OptimiserSpec,
    OracleMeasureSpec,
    OracleSpec,
    SamplingSpec,
    TrialSpec,
    inner_fits,
)

__all__ = [
    "SCALES",
    "Arm",
    "AutoregressiveFlowSpec",
    "BackboneSpec",
    "BudgetSpec",
    "Claim",
    "ClassifierSpec",
    "CouplingFlowSpec",
    "DataSpec",
    "DiffusionSpec",
    "FitSpec",
    "GANSpec",
    "LadderVAESpec",
    "LatentDiffusionSpec",
    "MeasureSpec",
    "ModelSpec",
    "OptimiserSpec",
    "OracleMeasureSpec",
    "OracleSpec",
    "Prediction",
    "Ratio",
    "SamplingSpec",
    "Scale",
    "ScheduleSpec",
    "Slope",
    "Study",
    "TrialSpec",
    "VAESpec",
    "Variance",
    "arm",
    "grid",
    "inner_fits",
    "with_fields",
    "zipped",
]

"""Pure functions and thin torchmetrics classes."""

from jdap.metrics.depth import RMSE, AbsRel, Delta1, DepthMetrics, align_scale_shift

__all__ = ["RMSE", "AbsRel", "Delta1", "DepthMetrics", "align_scale_shift"]

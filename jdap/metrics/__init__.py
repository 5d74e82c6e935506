"""Pure functions and thin torchmetrics classes."""

"""Networks: nn.Modules only; no Lightning, no files, no configs."""

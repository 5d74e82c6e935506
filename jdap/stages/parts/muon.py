"""Muon: momentum whose update is orthogonalised, for the matrices of a network; AdamW for the rest of it.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the scale and decay of arXiv 2502.16982, so that rates that
suit AdamW suit it too. torch.optim.Muon takes matrices alone; most weights here are convolutions, and count as matrices
of (output channels, everything else).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

#: Of the quintic that drives singular values toward 1 (Jordan et al.), and how often it is applied.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5

#: A weight whose smaller side is no larger than this is no hidden matrix: ends of a network, LoRA of small rank.
LEAST_SIDE = 8


class Muon(Optimizer):
    """AdamW, but for weights of at least two dimensions and more than :data:`LEAST_SIDE` rows and columns.

    Args:
        params: parameters, or groups of them.
        lr: rate. An orthogonalised update is scaled to the root mean square that AdamW's has, 0.2.
        momentum: of the matrices' gradients, Nesterov's.
        betas: AdamW's.
        weight_decay: of every parameter, apart from the gradient, times the rate.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what ``closure`` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._muon if is_matrix(p) else self._adam)(p, group)
        return loss

    def _muon(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - group["momentum"])
        turned = orthogonal(p.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
        p.add_(turned.view_as(p), alpha=-group["lr"] * 0.2 * max(turned.shape) ** 0.5)

    def _adam(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        first, second = group["betas"]
        state["step"] += 1
        steps = state["step"].item()
        state["exp_avg"].lerp_(p.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        spread = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        p.addcdiv_(state["exp_avg"], spread, value=-group["lr"] / (1 - first**steps))


def is_matrix(p: Tensor) -> bool:
    """Whether a parameter is moved as a matrix."""
    return p.ndim > 1 and min(p.shape[0], p[0].numel()) > LEAST_SIDE


def orthogonal(x_RC: Tensor) -> Tensor:
    """About U Vᵀ of a matrix U S Vᵀ (R, C): singular values between 0.5 and 1.2, but for tiny ones.

    Newton and Schulz's way, by a quintic. What it multiplies X by is a function of the small square X Xᵀ; where X is
    long it runs on that, for half of the operations.
    """
    if x_RC.shape[0] > x_RC.shape[1]:
        return orthogonal(x_RC.mT).mT
    a, b, c = QUINTIC
    x_RC = x_RC / (x_RC.norm() + 1e-7)
    if x_RC.shape[1] <= 2 * x_RC.shape[0]:
        for _ in range(ROUNDS):
            gram = x_RC @ x_RC.mT
            x_RC = torch.addmm(x_RC, torch.addmm(gram, gram, gram, beta=b, alpha=c), x_RC, beta=a)
        return x_RC
    gram = x_RC @ x_RC.mT
    left = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(ROUNDS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        left = factor @ left
        gram = factor @ gram @ factor  # a polynomial in gram: it commutes with it, and is as symmetric
    return left @ x_RC

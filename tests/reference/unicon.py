"""UNICON's own parts (Karim et al. 2022): divergence, selection and contrastive loss."""

from __future__ import annotations

import math

import torch


def divergences(net, other, inputs, labels):
    """Jensen–Shannon divergence of the mean prediction from the one-hot label, term by term."""
    net.eval()
    other.eval()
    with torch.no_grad():
        predictions = (torch.softmax(net(inputs), dim=1) + torch.softmax(other(inputs), dim=1)) / 2
    result = []
    for p, label in zip(predictions.tolist(), labels.tolist(), strict=True):
        q = [1.0 if c == label else 0.0 for c in range(len(p))]
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        kl_p = sum(a * math.log(a / b) for a, b in zip(p, m, strict=True) if a > 0)
        kl_q = sum(a * math.log(a / b) for a, b in zip(q, m, strict=True) if a > 0)
        result.append(0.5 * kl_p + 0.5 * kl_q)
    return result


def select(d, labels, classes, d_u=0.7, tau=5.0):
    """Indices of the selected samples, and the share R of samples below the threshold."""
    threshold = sum(d) / len(d)
    if threshold > d_u:
        threshold -= (threshold - min(d)) / tau
    share = sum(value < threshold for value in d) / len(d)
    per_class = math.floor(share * len(d) / classes + 1e-9)
    chosen = []
    for c in range(classes):
        members = [i for i, label in enumerate(labels.tolist()) if label == c]
        chosen += sorted(members, key=lambda i: d[i])[:per_class]
    return chosen, share


def refinement_weights(d):
    """1 − d, and 1 where d < 0.5."""
    return torch.tensor([1.0 if value < 0.5 else 1.0 - value for value in d], dtype=torch.float64)


def nt_xent(z1, z2, temperature):
    """The contrastive loss with one loop per anchor."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n = len(z1)
    total = 0.0
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        terms = [torch.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i]
        total = total - torch.log(torch.exp(z[i] @ z[positive] / temperature) / sum(terms))
    return total / (2 * n)

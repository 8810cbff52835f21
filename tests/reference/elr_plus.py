"""ELR+ (Liu et al. 2020), line by line, for one network of the pair and given batches."""

from __future__ import annotations

import math

import torch


def rampup(step, length):
    """exp(−5 (1 − x)²), 1 for a length of zero."""
    if length == 0:
        return 1.0
    x = min(max(step, 0.0), length) / length
    return math.exp(-5.0 * (1.0 - x) ** 2)


def epoch(net, ema, teacher, optimizer, steps, t, classes, done, *, settings):
    """Train ``net``; its weight average ``ema`` follows; ``teacher`` is the other's average.

    ``t`` is changed in place; ``done`` is the number of steps before this epoch.
    """
    net.train()
    ema.train()
    teacher.train()
    for x, labels, index, lam, idx in steps:
        onehot = torch.eye(classes, dtype=x.dtype)[labels]
        output = net(lam * x + (1 - lam) * x[idx])
        y = lam * onehot + (1 - lam) * onehot[idx]
        with torch.no_grad():
            p_teacher = torch.softmax(teacher(x), dim=1)
        t[index] = settings["beta"] * t[index] + (1 - settings["beta"]) * p_teacher
        q = lam * t[index] + (1 - lam) * t[index][idx]
        if settings["weighted_labels"]:
            y = y * q
            y = y / y.sum(dim=1, keepdim=True)
        p = torch.softmax(output, dim=1)
        regulariser = torch.log(1 - (q * torch.clamp(p, 1e-4, 1 - 1e-4)).sum(dim=1)).mean()
        done += 1
        weight = settings["lam"] * rampup(done, settings["lam_steps"])
        loss = -(y * torch.log(p)).sum(dim=1).mean() + weight * regulariser
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if settings["gamma_steps"]:
            alpha = settings["gamma"] * rampup(done + 1, settings["gamma_steps"])
        else:
            alpha = min(1 - 1 / (done + 1), settings["gamma"])
        with torch.no_grad():
            for average, weight_now in zip(ema.parameters(), net.parameters(), strict=True):
                average.copy_(alpha * average + (1 - alpha) * weight_now)

"""DivideMix (Li et al. 2020), line by line, for two modules and given batches."""

from __future__ import annotations

import torch
from sklearn.mixture import GaussianMixture


def warm_up(net, optimizer, batches, penalty=False):
    """Cross-entropy over batches of (inputs, labels)."""
    net.train()
    for x, y in batches:
        p = torch.softmax(net(x), dim=1)
        loss = -torch.log(p[torch.arange(len(y)), y]).mean()
        if penalty:
            loss = loss + (p * torch.log(p)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def clean_probability(net, inputs, labels, seed, past=()):
    """Posterior of the lower-mean component; also the normalised losses that it was fitted to."""
    net.eval()
    with torch.no_grad():
        p = torch.softmax(net(inputs), dim=1)
    losses = -torch.log(p[torch.arange(len(labels)), labels])
    losses = (losses - losses.min()) / (losses.max() - losses.min())
    history = [*past, losses]
    fitted = sum(history[-5:]) / len(history[-5:])
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed)
    mixture.fit(fitted.reshape(-1, 1).numpy())
    posterior = mixture.predict_proba(fitted.reshape(-1, 1).numpy())[:, mixture.means_.argmin()]
    return torch.from_numpy(posterior), losses


def semi_supervised_epoch(
    net, other, optimizer, steps, w, classes, *, size, lam_u, ramp, start, warm, temperature=0.5, extra=None
):
    """Train ``net`` with ``other`` fixed.

    steps : list of dicts with the labelled batch (x: two weak views, labels, index), the unlabelled
    one (u: two weak views), the views that are mixed (mixed_x, mixed_u), and mixup's l and idx.
    size : the nominal size of a labelled batch.
    """
    net.train()
    other.eval()
    num_iter = sum(len(step["labels"]) for step in steps) // size + 1
    for number, step in enumerate(steps):
        x1, x2 = step["x"]
        u1, u2 = step["u"]
        with torch.no_grad():
            pu = (
                torch.softmax(net(u1), dim=1)
                + torch.softmax(net(u2), dim=1)
                + torch.softmax(other(u1), dim=1)
                + torch.softmax(other(u2), dim=1)
            ) / 4
            pu = pu ** (1 / temperature)
            qu = pu / pu.sum(dim=1, keepdim=True)
            px = (torch.softmax(net(x1), dim=1) + torch.softmax(net(x2), dim=1)) / 2
            onehot = torch.zeros(len(x1), classes, dtype=px.dtype)
            for row, label in enumerate(step["labels"]):
                onehot[row, label] = 1.0
            wx = w[step["index"]].reshape(-1, 1)
            px = (wx * onehot + (1 - wx) * px) ** (1 / temperature)
            qx = px / px.sum(dim=1, keepdim=True)
        added = extra(net, step) if extra is not None else 0.0
        inputs = torch.cat([*step["mixed_x"], *step["mixed_u"]])
        targets = torch.cat([qx, qx, qu, qu])
        mixed_inputs = step["l"] * inputs + (1 - step["l"]) * inputs[step["idx"]]
        mixed_targets = step["l"] * targets + (1 - step["l"]) * targets[step["idx"]]
        p = torch.softmax(net(mixed_inputs), dim=1)
        b = 2 * len(x1)
        loss_x = -(mixed_targets[:b] * torch.log(p[:b])).sum(dim=1).mean()
        loss_u = ((p[b:] - mixed_targets[b:]) ** 2).mean()
        prior = 1 / classes
        penalty = (prior * torch.log(prior / p.mean(dim=0))).sum()
        position = start + number / num_iter
        weight = lam_u * min(max((position - warm) / ramp, 0.0), 1.0)
        loss = loss_x + weight * loss_u + penalty + added
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

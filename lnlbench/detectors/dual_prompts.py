"""DeFT's dual prompts: of each class one text that says yes and one that says no, both learnt."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lnlbench.basics.seeding import derive_seed
from lnlbench.detectors.by_texts import sides
from lnlbench.detectors.evidence import ROWS, Detection, Evidence, best_other
from lnlbench.models.text.class_texts import ClassTexts

SPREAD = 0.02  # standard deviation of a context before it has learnt anything
LEAST = 1e-5  # probability below which a logarithm is cut


class DualPrompts(nn.Module):
    """A context that says yes and one that says no, shared by all classes, in front of their names.

    Parameters
    ----------
    texts : ClassTexts
        Of a model that puts learnt vectors in front of texts.
    tokens : int
        Number of vectors of a context, m.
    temperature : float
        Cosine similarities are divided by it.
    generator : torch.Generator
        Of the initial contexts, on the CPU.

    Attributes
    ----------
    contexts : nn.Parameter, ``[2, m, w]``
        The one that says yes first. Nothing else learns, or is part of the state.
    """

    def __init__(
        self, texts: ClassTexts, tokens: int, temperature: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        encoder = texts.context_encoder(tokens)
        drawn = SPREAD * torch.randn(2, tokens, encoder.width, generator=generator)
        self.contexts = nn.Parameter(drawn.to(texts.embeddings))
        self.temperature = temperature
        self._frozen = (texts, encoder)  # in a tuple, so that they are no parts of this module

    def spoken(self) -> torch.Tensor:
        """Return the texts as they are now, yes and no of each class, ``[2, C, p]``, of length one."""
        return functional.normalize(self._frozen[1](self.contexts), dim=2)

    def logits(self, features: torch.Tensor, spoken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how much images are like the texts that say yes, and no, each ``[B, C]``.

        Parameters
        ----------
        features : torch.Tensor, ``[B, d]``
            Of the model whose texts these are. They learn from yes alone.
        spoken : torch.Tensor, ``[2, C, p]``
            By :meth:`spoken`.
        """
        images = self._frozen[0].projected(features)
        return images @ spoken[0].T / self.temperature, images.detach() @ spoken[1].T / self.temperature


def dual_loss(
    yes: torch.Tensor, no: torch.Tensor, labels: torch.Tensor, others: torch.Tensor, *, warm: bool
) -> torch.Tensor:
    """Return DeFT's loss of a batch: cross-entropy on what is kept, and what no has to learn.

    With p(c) = σ(yes_c − no_c), a sample is kept if p of its label exceeds 1/2. The loss is the mean
    cross-entropy of yes on the kept samples, plus the mean of −log(1 − p(other)) − log p(named), where a
    kept sample is named by its label, and any other by the largest yes. Probabilities are at least 1e-5 in
    logarithms. The second part is for no alone: nothing goes back from it through yes.

    If nothing of a batch is kept, its cross-entropy is 0; in the authors' code it is the mean of nothing,
    NaN, from which no weight recovers.

    Source: Wei et al., Vision-Language Models are Strong Noisy Label Detectors (NeurIPS, 2024), section 3.2;
    main_phase1.py of their code.

    Parameters
    ----------
    yes, no : torch.Tensor, ``[B, C]``
    labels, others : torch.Tensor, int64 ``[B]``
        Given labels, and for each sample a class that is not its label.
    warm : bool
        Take all samples for kept.
    """
    odds = yes.detach() - no
    kept = odds.gather(1, labels[:, None]).squeeze(1) > 0
    if warm:
        kept = torch.ones_like(kept)
    named = torch.where(kept, labels, yes.argmax(1))
    losses = functional.cross_entropy(yes, labels, reduction="none")
    least = math.log(LEAST)
    said_no = functional.logsigmoid(-odds.gather(1, others[:, None])).clamp(min=least)
    said_yes = functional.logsigmoid(odds.gather(1, named[:, None])).clamp(min=least)
    return (losses * kept).sum() / kept.sum().clamp(min=1) - said_no.mean() - said_yes.mean()


def draw_others(labels: torch.Tensor, classes: int, generator: torch.Generator) -> torch.Tensor:
    """Return for each sample a class that is not its label, drawn uniformly, int64 ``[N]``, on the CPU."""
    steps = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + steps) % classes


def deft(
    evidence: Evidence,
    *,
    tokens: int = 16,
    epochs: int = 10,
    warmup: int = 1,
    lr: float = 0.03,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 64,
    temperature: float = 0.01,
) -> Detection:
    """Learn for each class a text that says yes and one that says no; flag a label to which no is said.

    The score is p of the given label, see :func:`dual_loss`, after the last epoch; flagged is what is
    not above 1/2, and suggested is the class with the largest yes.

    Each step sends the texts of all classes, twice, forward and back through the text tower, as long as the
    longest name and the context together; no image passes. With 100 classes and CLIP's text tower of base
    size that is about 3e11 multiplications a step: minutes on a GPU for 50,000 samples, half a day on a CPU.

    Deviations from the authors' code: features are those of the frozen model, and no prompts of images learn
    beside those of texts; the verdict is that of the final texts on plain images, not of texts that are
    still learning on augmented ones. The method :class:`lnlbench.methods.deft.DeFT` learns images' prompts
    as well, if it is asked to.

    Source: Wei et al., Vision-Language Models are Strong Noisy Label Detectors (NeurIPS, 2024), section 3;
    its code, main_phase1.py and config/PEFT.

    Parameters
    ----------
    evidence : Evidence
        With features and texts; its seed is that of contexts and batches.
    tokens, epochs, warmup : int
        Vectors of a context; epochs in all, and epochs that trust all labels. Defaults 16, 10 and 1.
    lr, momentum, weight_decay : float
        Of SGD, the rate on a cosine to zero. Defaults 0.03, 0.9 and 0.0005.
    batch_size : int
        Default 64.
    temperature : float
        Default 0.01, that of CLIP.
    """
    features, texts = sides(evidence)
    given = torch.from_numpy(evidence.labels)
    labels = given.to(features.device)
    generator = torch.Generator().manual_seed(derive_seed("dual prompts", evidence.seed))
    prompts = DualPrompts(texts, tokens, temperature, generator)
    optimizer = torch.optim.SGD(prompts.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    with torch.enable_grad():
        for epoch in range(epochs):
            optimizer.param_groups[0]["lr"] = lr * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
            others = draw_others(given, evidence.classes, generator).to(features.device)
            order = torch.randperm(len(labels), generator=generator).to(features.device)
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                yes, no = prompts.logits(features[rows], prompts.spoken())
                loss = dual_loss(yes, no, labels[rows], others[rows], warm=epoch < warmup)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return read_off(prompts, features, evidence)


@torch.no_grad()
def read_off(prompts: DualPrompts, features: torch.Tensor, evidence: Evidence) -> Detection:
    """Return what prompts say of samples: the verdict of :func:`deft`.

    Parameters
    ----------
    prompts : DualPrompts
    features : torch.Tensor, ``[N, d]``
    evidence : Evidence
        Whose labels are judged.
    """
    spoken, odds, likes = prompts.spoken(), [], []
    labels = torch.from_numpy(evidence.labels).to(features.device)
    for start in range(0, len(features), ROWS):
        part = slice(start, start + ROWS)
        yes, no = prompts.logits(features[part], spoken)
        odds.append((yes - no).gather(1, labels[part, None]).squeeze(1).double().cpu())
        likes.append(yes.cpu().numpy())
    given_odds = torch.cat(odds)
    flags = (given_odds <= 0.0).numpy()
    other, _ = best_other(np.concatenate(likes), evidence.labels)
    return Detection(given_odds.sigmoid().numpy(), flags, np.where(flags, other, evidence.labels))

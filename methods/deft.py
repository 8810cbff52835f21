"""DeFT: texts of classes learn to say yes and no to labels; then all is tuned on what got a yes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from lnlbench.api import (
    Batch,
    Method,
    Passes,
    Phase,
    Preset,
    Selection,
    Skip,
    Task,
    TrialSpec,
    UsageError,
    functional,
    one_of,
)
from lnlbench.components.selection_rules import with_every_class
from lnlbench.detectors.dual_prompts import DualPrompts, deft, draw_others, dual_loss, read_off
from lnlbench.detectors.evidence import Detection, Evidence


class DeFT(Method):
    """Denoising fine-tuning (Wei et al., 2024): dual prompts detect, cross-entropy tunes on what is kept.

    Of each class one text says yes and one says no. Each begins with a context that is learnt through CLIP's
    text tower and shared by all classes, and ends with the name. A sample is kept if its image is more like
    the yes of its label than like the no: see :func:`lnlbench.detectors.dual_prompts.dual_loss`. Selection
    is made once, so that tuning cannot confirm its own mistakes. Backbones whose texts take no learnt vectors
    are declined.

    Where ``images`` is "frozen", contexts are learnt before the first epoch on the features of the
    pre-trained CLIP, with a budget of their own, and all phases tune on what is kept, in any tuning mode.
    Where it is "tuned", the first of two or more phases is the paper's first: contexts are learnt together
    with whatever that phase lets learn of the images' side, on its budget, and its predictions are those of
    the texts that say yes. The paper's own mode is ``vpt-fft`` with ``vpt.tokens`` = 20.

    A class of which nothing is left keeps its best scores, as many as the smallest other class has; if
    nothing is left at all, everything is kept. Events count both.

    Costs 3ρ forward units per sample and epoch of tuning, with ρ the share selected, and 1 once for features
    where no cache has them; with ``images`` "tuned" also all samples in the first phase. Texts are not
    counted: each step of detection sends two for each class through the text tower, forward and back.

    Deviations from the paper and its code: by default nothing but contexts learns in detection; tuning
    starts from the network as the phase before left it, not from another pre-trained one; the verdict is
    that of the final texts on plain images, while the code notes it batch by batch in the last epoch, of
    texts that are still learning and on augmented images; a batch of which nothing is kept has a
    cross-entropy of 0 where the code's mean of nothing is NaN, in both of its phases; a warm-up of five
    epochs, which the code has for real noise only, is a preset; no epoch is chosen by test accuracy, as the
    code's best is.

    Source: Wei, Li, Li, Shi, Li & Zhang, Vision-Language Models are Strong Noisy Label Detectors, NeurIPS
    2024, section 3; code of the authors (MIT), main_phase1.py, main_phase2.py and config/PEFT.
    """

    title = "DeFT"
    paper = "Wei et al. (2024)"
    homepage = "github.com/HotanLee/DeFT"
    unsaved = ("texts",)
    presets: ClassVar[Mapping[str, Preset]] = {
        "real": Preset(
            {"warmup": 5},
            source="Their config/PEFT of CIFAR-100N, Clothing1M and WebVision; it knows that noise is real.",
            noise_aware=True,
        )
    }

    @dataclass(frozen=True)
    class Params:
        """Parameters of detection.

        Attributes
        ----------
        images : {"frozen", "tuned"}
            Whether the images' side learns in detection: "tuned" takes the first phase for it. Default
            "frozen". Source: ours, so that all modes are compared on equal budgets; "tuned" is the paper's.
        tokens : int
            Vectors of a context. Default 16. Source: their code, N_CTX.
        warmup : int
            Epochs of detection that trust all labels. Default 1. Source: their config/PEFT/cifar100.yaml.
        epochs : int
            Of detection, if images are frozen. Default 10. Source: their config/PEFT.
        batch_size : int
            Of detection, if images are frozen. Default 64. Source: their config/PEFT; of Clothing1M it is 32.
        lr : float
            Initial learning rate of SGD on a cosine, if images are frozen. Default 0.03. Source: their
            config/PEFT.
        momentum : float
            Of this SGD. Default 0.9. Source: their config/PEFT.
        weight_decay : float
            Of this SGD. Default 0.0005. Source: their config/PEFT.
        temperature : float
            Cosine similarities are divided by it. Default 0.01. Source: CLIP's own, which their code takes.
        """

        images: str = "frozen"
        tokens: int = 16
        warmup: int = 1
        epochs: int = 10
        batch_size: int = 64
        lr: float = 0.03
        momentum: float = 0.9
        weight_decay: float = 5e-4
        temperature: float = 0.01

        def __post_init__(self) -> None:
            one_of(self.images, ("frozen", "tuned"), "images of deft")
            for name in ("tokens", "epochs", "batch_size"):
                if getattr(self, name) < 1:
                    raise UsageError(f"deft has {name} = {getattr(self, name)}.", "It must be at least 1.")
            for name in ("lr", "temperature"):
                if not getattr(self, name) > 0.0:
                    raise UsageError(f"deft has {name} = {getattr(self, name):g}.", "It must be positive.")
            for name in ("warmup", "momentum", "weight_decay"):
                if not getattr(self, name) >= 0.0:
                    raise UsageError(f"deft has {name} = {getattr(self, name):g}.", "It must be 0 or more.")

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Decline modes of one phase, if the first phase is to detect."""
        if dict(spec.method.params).get("images") == "tuned" and "-" not in spec.tuning:
            return Skip(
                "with images = tuned, deft detects in a first phase and tunes in another: use vpt-fft"
            )
        return None

    @classmethod
    def reads_texts(cls, spec: TrialSpec) -> bool:
        """Ask for texts, always."""
        return True

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return 3ρ units an epoch, all samples where a phase detects, and one for features."""
        tuned = dict(spec.method.params).get("images") == "tuned"
        passes = []
        for number, phase in enumerate(spec.phases):
            first = number == 0
            cached = phase.kind == "lp" and phase.cache
            kept = 1.0 if first and tuned else share
            passes.append(Passes(forward=float(first and not cached), trained=kept * phase.epochs))
        return tuple(passes)

    def setup(self, task: Task) -> None:
        """Make the network, and ask for the texts of the classes; nothing is selected yet."""
        super().setup(task)
        self.texts = task.texts()
        self.selected = torch.ones(task.samples, dtype=torch.bool)

    def begin_phase(self, phase: Phase) -> None:
        """Make the phase's optimiser, and contexts where the phase is to learn them."""
        self.prompts: DualPrompts | None = None
        self.spoken: torch.Tensor | None = None
        if phase.index > 0 or self.params.images == "frozen":
            super().begin_phase(phase)
            return
        generator = torch.Generator().manual_seed(phase.seed("contexts"))
        self.prompts = DualPrompts(self.texts, self.params.tokens, self.params.temperature, generator)
        self.spoken = self.prompts.spoken().detach()
        self.optimizer = phase.optimizer(self.network, self.prompts)

    def epoch(self, phase: Phase) -> None:
        """Learn contexts in a phase that detects; else train on what the trial's first epoch selects."""
        if self.prompts is not None:
            self.learn(self.prompts, phase)
            return
        if phase.index == 0 and phase.epoch == 0:
            params = self.params
            evidence = self.evidence(phase)
            found = deft(
                evidence,
                tokens=params.tokens,
                epochs=params.epochs,
                warmup=params.warmup,
                lr=params.lr,
                momentum=params.momentum,
                weight_decay=params.weight_decay,
                batch_size=params.batch_size,
                temperature=params.temperature,
            )
            self.keep(found, phase)
        for batch in phase.batches(self.selected.nonzero().squeeze(1)):
            phase.step(self.optimizer, self.loss(batch))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross-entropy of a batch."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's logits; in a phase that detects, those of the texts that say yes."""
        if self.prompts is None or self.spoken is None:
            return super().predict(inputs)
        return self.prompts.logits(self.network.features(inputs), self.spoken)[0]

    def learn(self, prompts: DualPrompts, phase: Phase) -> None:
        """Take an epoch of the paper's first phase; after the last one, select."""
        others = draw_others(phase.labels, phase.classes, phase.generator).to(phase.device)
        warm = phase.epoch < self.params.warmup
        for batch in phase.batches():
            yes, no = prompts.logits(self.network.features(batch.inputs), prompts.spoken())
            phase.step(self.optimizer, dual_loss(yes, no, batch.labels, others[batch.rows], warm=warm))
        self.spoken = prompts.spoken().detach()
        if phase.epoch == phase.epochs - 1:
            evidence = self.evidence(phase)
            assert evidence.features is not None  # just put in
            self.keep(read_off(prompts, evidence.features, evidence), phase)

    def evidence(self, phase: Phase) -> Evidence:
        """Return given labels, and features of plain images as the network has them now."""
        return Evidence(
            phase.labels.numpy(),
            phase.classes,
            features=phase.features(self.network),
            texts=self.texts,
            seed=phase.seed("detector"),
        )

    def keep(self, found: Detection, phase: Phase) -> None:
        """Keep what is not flagged, and some of every class; publish it."""
        score = torch.from_numpy(found.score)
        self.selected = with_every_class(torch.from_numpy(~found.flags), score, phase)
        phase.publish(Selection(self.selected, score))

"""CLIP's text side, from the folder whose vision tower is the backbone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPModel

from lnlbench.errors import UsageError, WeightsError
from lnlbench.models.backbone import BackboneSource, fingerprint
from lnlbench.models.sources import hub
from lnlbench.models.sources.transformers_loading import REJECTIONS, first_line, quiet
from lnlbench.models.text.context_encoder import ContextEncoder
from lnlbench.models.text.text_side import TextSide
from lnlbench.models.text.tokens import Tokens
from lnlbench.spec import BackboneSpec

TEXTS = 256  # that are embedded at a time


class ReadsClipTexts(BackboneSource):
    """A source of models of the hub; those that are CLIP's read texts.

    Texts are tokenised by the model's ``tokenizer.json``. Their embeddings are computed in float32 on the
    CPU, and do not depend on which texts are embedded together, up to rounding.
    """

    def without_text(self, spec: BackboneSpec) -> str | None:
        """Look at the configuration of the model, if it is here, and at the options."""
        if spec.weights == "none":
            return f"backbone {spec.label} reads no texts with weights = none"
        pooling = self.options(spec)["pooling"]
        if pooling != "model":
            return f"CLIP compares texts with other features than pooling = {pooling}; leave it out"
        reference = self.reference(spec)
        folder = hub.own_folder(reference, spec.revision) or hub.cached(reference, spec.revision)
        if folder is None or not (folder / "config.json").is_file():
            return None
        kind = _model_type(folder)
        if kind != "clip":
            return f"backbone {spec.label} is a '{kind}' model, and only those of type 'clip' read texts"
        return None

    def missing_text(self, spec: BackboneSpec) -> str | None:
        """Look for the tokeniser beside the weights."""
        problem = hub.find_problem(
            self.reference(spec), spec.revision, configuration=True, weights=True, tokeniser=True
        )
        return " ".join(problem) if problem else None

    def text(self, spec: BackboneSpec) -> TextSide:
        """Return CLIP's text side; see :meth:`BackboneSource.text`."""
        self._refuse_others(spec)
        folder = hub.model_folder(
            self.reference(spec), spec.revision, configuration=True, weights=True, tokeniser=True
        )
        self._refuse_others(spec)  # now that it is here
        model = _load(folder, spec)
        path = folder / hub.TOKENISER_FILE
        configuration = model.config.text_config
        tokens = Tokens(path, configuration.max_position_embeddings, configuration.vocab_size)

        @torch.inference_mode()
        def embed(texts: Sequence[str]) -> torch.Tensor:
            pieces = []
            for start in range(0, len(texts), TEXTS):
                ids, mask = tokens(texts[start : start + TEXTS])
                hidden = model.text_model(input_ids=ids, attention_mask=mask)
                pieces.append(model.text_projection(hidden.pooler_output))
            return torch.cat(pieces)

        def with_context(texts: Sequence[str], number: int) -> ContextEncoder:
            longest = configuration.max_position_embeddings
            if not 0 < number <= longest - 3:  # start, one token of a name, and end
                raise UsageError(
                    f"Contexts of {number} vectors are asked for, and the texts of '{spec.name}' have "
                    f"{longest} tokens.",
                    f"Take 1 to {longest - 3}.",
                )
            behind = Tokens(path, longest - number, configuration.vocab_size)
            return ClipContexts(model, *behind(texts), number)

        tokeniser = hashlib.sha256(path.read_bytes()).hexdigest()
        return TextSide(
            embed,
            projection=model.visual_projection.weight.detach(),
            temperature=float((-model.logit_scale.detach()).exp()),
            fingerprint=fingerprint(f"clip text {configuration.to_json_string()} {tokeniser}", model),
            with_context=with_context,
        )

    def _refuse_others(self, spec: BackboneSpec) -> None:
        reason = self.without_text(spec)
        if reason is not None:
            raise UsageError(f"{reason}.", "Choose CLIP: clip_vit_b, or hf: with its folder.")


class ClipContexts(ContextEncoder):
    """CLIP's texts behind learnt vectors: these are what the tokens after the start are embedded as.

    Parameters
    ----------
    model : CLIPModel
        Of which the text side is used.
    ids, mask : torch.Tensor, int64 ``[n, L]``
        Tokens of the texts, the start included, and which are tokens.
    number : int
        How many vectors are put in front.
    """

    def __init__(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, number: int) -> None:
        super().__init__()
        self.tower, self.head = model.text_model, model.text_projection
        self.width = int(model.config.text_config.hidden_size)
        # Any token keeps the places: what it is embedded as is replaced.
        places = torch.zeros(len(ids), number, dtype=torch.int64)
        self.register_buffer("ids", torch.cat([ids[:, :1], places, ids[:, 1:]], dim=1))
        self.register_buffer("mask", torch.cat([mask[:, :1], places + 1, mask[:, 1:]], dim=1))

    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return the texts behind each of S contexts, ``[S, m, w]``: embeddings ``[S, n, p]``."""
        sets, number, _ = contexts.shape
        texts = len(self.get_buffer("ids"))
        vectors = contexts.repeat_interleave(texts, dim=0)

        def put(module: nn.Module, given: Any, embedded: torch.Tensor) -> torch.Tensor:
            return torch.cat([embedded[:, :1], vectors, embedded[:, 1 + number :]], dim=1)

        # A hook, because the tower takes numbers of tokens and no embeddings of them.
        handle = self.tower.embeddings.token_embedding.register_forward_hook(put)
        try:
            ids, mask = (self.get_buffer(name).repeat(sets, 1) for name in ("ids", "mask"))
            hidden = self.tower(input_ids=ids, attention_mask=mask).pooler_output
        finally:
            handle.remove()
        embedded: torch.Tensor = self.head(hidden)
        return embedded.view(sets, texts, -1)


def _model_type(folder: Path) -> str:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(found["model_type"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"'{folder / 'config.json'}' cannot be read ({error!r}).", "Fetch it again."
        ) from error


def _load(folder: Path, spec: BackboneSpec) -> Any:
    """Return the whole model without its vision tower, in eval mode."""
    try:
        with quiet():
            loaded: Any = CLIPModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except (*REJECTIONS, SafetensorError) as error:
        raise WeightsError(
            f"The text side of '{spec.name}' cannot be loaded ({first_line(error)}).",
            "Fetch the model again; configuration and weights must belong together.",
        ) from error
    model, report = loaded
    if lost := sorted(report["missing_keys"]):
        raise WeightsError(
            f"The weights of '{spec.name}' lack {len(lost)} tensors of the model, '{lost[0]}' among them.",
            "Texts need all of CLIP, and not its vision tower alone.",
        )
    del model.vision_model
    return model.float().eval().requires_grad_(False)

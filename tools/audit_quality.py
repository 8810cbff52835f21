"""How well an audit finds wrong labels, beside cleanlab on the same out-of-fold probabilities.

    python -m tools.audit_quality --data FOLDER [--noise human-worse …] [--set image_size=64]

For each noise it prints AUROC and average precision of our detectors, of their agreement, and of
cleanlab's scores, and whether the agreement is separably better than each: a 95 % interval of the paired
difference, by a bootstrap over samples. Where a rule is the same, it says whether flags and scores are equal.
True labels judge, and nothing else sees them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from lnlbench.audit.asked import audit_spec
from lnlbench.audit.subject import load_features, load_subject
from lnlbench.detectors.detect import BY_TEXTS, DETECTORS, detect
from lnlbench.detectors.evidence import Evidence
from lnlbench.inputs.feature_cache import default_cache_folder
from lnlbench.trials.workspace import RunSettings, Workspace

Scores = dict[str, npt.NDArray[Any]]
NOISES = ("human-worse", "human-aggre", "symmetric-0.4")
MEASURES: Mapping[str, Callable[..., float]] = {"AUROC": roc_auc_score, "AP": average_precision_score}


def cleanlab_scores(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> Scores:
    """Return cleanlab's label quality by its three methods, as they are and class-adjusted."""
    from cleanlab.rank import get_label_quality_scores

    found = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjusted in (False, True):
            if adjusted and method == "confidence_weighted_entropy":  # which takes none
                continue
            name = f"cleanlab {method}{' (adjusted)' if adjusted else ''}"
            found[name] = get_label_quality_scores(
                labels, probabilities, method=method, adjust_pred_probs=adjusted
            )
    return found


def differences(
    wrong: npt.NDArray[np.bool_], ours: npt.NDArray[Any], others: Scores, draws: int, seed: int = 0
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return 95 % intervals of (ours − other) by measure and name, from draws of samples with replacement."""
    generator = np.random.default_rng(seed)
    found: dict[str, dict[str, list[float]]] = {name: {m: [] for m in MEASURES} for name in others}
    for _ in range(draws):
        rows = generator.integers(0, len(wrong), len(wrong))
        for measure, judge in MEASURES.items():
            mine = judge(wrong[rows], -ours[rows])
            for name, score in others.items():
                found[name][measure].append(mine - judge(wrong[rows], -score[rows]))
    return {
        name: {measure: _interval(values) for measure, values in by.items()} for name, by in found.items()
    }


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def report(dataset: str, noise: str, sets: list[str], workspace: Workspace, draws: int) -> None:
    """Print one noise's table."""
    from cleanlab.filter import find_label_issues

    spec = audit_spec(dataset, "efficientnet_lite0", [*sets, f"noise={noise}"])
    subject = load_subject(spec, workspace)
    wrong = subject.wrong
    evidence = Evidence(subject.labels, len(subject.classes), features=load_features(spec, workspace))
    detections = {name: detect(name, evidence) for name in DETECTORS if name not in BY_TEXTS}
    agreed = detections.pop("agreement")
    scores: Scores = {name: found.score for name, found in detections.items()}
    scores |= cleanlab_scores(subject.labels, evidence.predicted)
    compared = differences(wrong, agreed.score, scores, draws)
    print(f"\n{noise}: {len(subject):,} samples, {wrong.mean():.2%} wrong, estimated {agreed.rate:.2%}")
    print(f"{'':44}{'AUROC':>7}{'AP':>7}   agreement is better by (95 %)")
    for name, score in {"agreement": agreed.score, **scores}.items():
        numbers = "".join(f"{judge(wrong, -score):7.4f}" for judge in MEASURES.values())
        by = compared.get(name, {})
        tail = "  ".join(f"{measure} {low:+.4f} … {high:+.4f}" for measure, (low, high) in by.items())
        print(f"{name:44}{numbers}   {tail}")
    issues = find_label_issues(subject.labels, evidence.predicted, filter_by="confident_learning", n_jobs=1)
    same = np.array_equal(issues, detections["confident"].flags)
    gap = np.abs(scores["confident"] - scores["cleanlab self_confidence"]).max()
    print(f"confident learning: flags equal cleanlab's: {same}; scores within {gap:.1e}")
    for measure, judge in MEASURES.items():
        values = {name: judge(wrong, -score) for name, score in scores.items()}
        name = max(values, key=values.__getitem__)
        verdict = "separably better" if compared[name][measure][0] > 0 else "not separably better"
        print(f"{measure}: agreement is {verdict} than the best single rule, {name}")


def main() -> None:
    """Read the command line, and print a table a noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--noise", nargs="*", default=NOISES)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--cache", type=Path, default=default_cache_folder())
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    workspace = Workspace(RunSettings(data=given.data, cache=given.cache))
    for noise in given.noise:
        report(given.dataset, noise, given.sets, workspace, given.draws)


if __name__ == "__main__":
    main()

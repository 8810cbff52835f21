"""Which given labels are wrong? Detectors that train nothing, or a head in seconds.

A detector is a pure function of :class:`~lnlbench.detectors.evidence.Evidence` (features, given labels,
and probabilities of classes, which it makes itself where nobody gives them) that returns a
:class:`~lnlbench.detectors.evidence.Detection`: a score per sample, who is suspected, what the label may
be, and how many labels are wrong, where the detector knows::

    from lnlbench.detectors.detect import DETECTORS, detect
    from lnlbench.detectors.evidence import Evidence

    evidence = Evidence(labels, classes, features=features)     # or probabilities=, or both
    found = detect("knn", evidence)                             # any name in DETECTORS
    found.score, found.flags, found.suggested, found.rate

The names are ``knn``, ``simifeat``, ``wann`` (votes of neighbours), ``confident``, ``small_loss``
(out-of-fold probabilities), ``agreement`` (both), and ``zero_shot``, ``clipcleaner`` and ``deft``, which
need ``texts=`` of the classes. Neighbours and probabilities are found once for
all detectors that look at the same evidence. Nothing here sees true labels, and nothing is random
but what ``Evidence.seed`` seeds.
"""

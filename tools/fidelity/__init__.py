"""The fidelity page: what every method and noise generator claims, where from, and how it is tested.

In a source checkout, ``python -m tools.fidelity`` writes ``docs/fidelity.md`` from the docstrings, the
classes and the tests, and names what is missing. Docstrings follow numpy's convention, with three kinds
of paragraphs of their own: ``Costs …``, ``Deviations …`` (or ``No deviations known.``) and ``Source: …``;
the description of every parameter ends with ``Source: …``.
"""

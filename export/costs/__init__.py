"""The terms of J, each in a file of its own."""

from __future__ import annotations

from ortist.export.costs.content import Content
from ortist.export.costs.gaussian import Gaussian
from ortist.export.costs.gram import Gram
from ortist.export.costs.neighbors import Neighbors
from ortist.export.costs.term import Term
from ortist.export.costs.variation import Variation

TERMS: dict[str, Term] = {
    term.name: term for term in (Content(), Neighbors(), Gram(), Gaussian(), Variation())
}
"""The terms that the package has, by name."""
STATISTICS = tuple(name for name, term in TERMS.items() if term.source == "style")
"""What of a style layer may be compared: the terms whose target is the style."""

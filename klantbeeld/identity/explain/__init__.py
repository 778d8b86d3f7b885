"""Why two records are, or are not, one person; and how a profile was built.

Belongs here: questions to one published version, answered with the code that links (the same
people, the same `Scorer` with the model version of that publication, the same merge), and how the
answers look. Does not: linking; nothing is stored for an explanation.

Flow: identity.pairs + intermediate.int_linkage_records -> explainer -> answers -> words, page,
graph.

Answers hold personal values: that is what they are for. They are never logged.
"""

from klantbeeld.identity.explain.answers import PairExplanation, ProfileExplanation
from klantbeeld.identity.explain.explainer import Explainer, open_explainer

__all__ = ["Explainer", "PairExplanation", "ProfileExplanation", "open_explainer"]

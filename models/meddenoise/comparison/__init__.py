"""Is a candidate better than the model that runs? Measured on held-back patients of the site, and on phantoms."""

from meddenoise.comparison.cases import Case, built_in_cases
from meddenoise.comparison.compare import Comparison, Judged, Rule, Score, compare
from meddenoise.comparison.page import pictures_in, read, write
from meddenoise.comparison.publish import publish_if_better

__all__ = [
    "Case",
    "Comparison",
    "Judged",
    "Rule",
    "Score",
    "built_in_cases",
    "compare",
    "pictures_in",
    "publish_if_better",
    "read",
    "write",
]

"""Kernels over antibody variants: what they change in their parents, compared in many ways."""

from paratope.kernels.alike import ADDITIVE, WITHIN_PARENT, Comparison
from paratope.kernels.blend import Blend, Compared
from paratope.kernels.centring import Centring
from paratope.kernels.changes import Change, LanguageModel, Parents, ParentSites, Site
from paratope.kernels.features import ChangeTable, Features, Featuriser
from paratope.kernels.language import AntibodyLanguage
from paratope.kernels.scales import Scales
from paratope.kernels.terms import LANGUAGE_TERMS, MEANING, TERMS, WITHIN_ANTIGEN, Term

__all__ = [
    "ADDITIVE",
    "LANGUAGE_TERMS",
    "MEANING",
    "TERMS",
    "WITHIN_ANTIGEN",
    "WITHIN_PARENT",
    "AntibodyLanguage",
    "Blend",
    "Centring",
    "Change",
    "ChangeTable",
    "Compared",
    "Comparison",
    "Features",
    "Featuriser",
    "LanguageModel",
    "ParentSites",
    "Parents",
    "Scales",
    "Site",
    "Term",
]

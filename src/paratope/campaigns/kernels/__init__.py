"""Kernels over antibody variants: what they change in their parents, compared in many ways."""

from paratope.campaigns.kernels.alike import ADDITIVE, WITHIN_PARENT, Comparison
from paratope.campaigns.kernels.blend import Blend, Compared
from paratope.campaigns.kernels.centring import Centring
from paratope.campaigns.kernels.changes import Change, LanguageModel, Parents, ParentSites, Site
from paratope.campaigns.kernels.features import ChangeTable, Features, Featuriser
from paratope.campaigns.kernels.language import AntibodyLanguage
from paratope.campaigns.kernels.scales import Scales
from paratope.campaigns.kernels.terms import LANGUAGE_TERMS, MEANING, TERMS, WITHIN_ANTIGEN, Term

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

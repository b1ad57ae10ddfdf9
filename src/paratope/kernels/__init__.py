"""Kernels over antibody variants: what they change in their parents, compared in many ways."""

from paratope.kernels.changes import Change, LanguageModel, Parents, ParentSites, Site
from paratope.kernels.features import ChangeTable, Features, Featuriser
from paratope.kernels.language import AntibodyLanguage
from paratope.kernels.terms import ADDITIVE, LANGUAGE_TERMS, MEANING, TERMS, Centring, Scales

__all__ = [
    "ADDITIVE",
    "LANGUAGE_TERMS",
    "MEANING",
    "TERMS",
    "AntibodyLanguage",
    "Centring",
    "Change",
    "ChangeTable",
    "Features",
    "Featuriser",
    "LanguageModel",
    "ParentSites",
    "Parents",
    "Scales",
    "Site",
]

"""Kernels over antibody variants: what they change in their parents, compared in many ways."""

from paratope.campaigns.kernels.features import Features, Featuriser, SubstitutionTable
from paratope.campaigns.kernels.language import AntibodyLanguage, LanguageModel
from paratope.campaigns.kernels.sum_kernel import (
    Importance,
    KernelCenterer,
    NewVariants,
    SumKernel,
    centred_grams,
    importance,
)
from paratope.campaigns.kernels.terms import (
    ADDITIVE,
    ENCODED_TERMS,
    LANGUAGE_TERMS,
    OFFSETS,
    TERMS,
    WITHIN_ANTIGEN,
    WITHIN_PARENT,
    Comparison,
    Pairwise,
    Scales,
    Term,
)
from paratope.campaigns.kernels.variants import ParentSites, Site, SiteSubstitution

__all__ = [
    "ADDITIVE",
    "ENCODED_TERMS",
    "LANGUAGE_TERMS",
    "OFFSETS",
    "TERMS",
    "WITHIN_ANTIGEN",
    "WITHIN_PARENT",
    "AntibodyLanguage",
    "Comparison",
    "Features",
    "Featuriser",
    "Importance",
    "KernelCenterer",
    "LanguageModel",
    "NewVariants",
    "Pairwise",
    "ParentSites",
    "Scales",
    "Site",
    "SiteSubstitution",
    "SubstitutionTable",
    "SumKernel",
    "Term",
    "centred_grams",
    "importance",
]

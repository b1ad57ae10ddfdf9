"""Whether an antigen is a campaign's: the same, a mutant or another construct of it, or none."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN
from paratope.campaigns.kernels.variants import antigen_mutations
from paratope.data.findings import counted
from paratope.molecules.alignment import align_chains
from paratope.molecules.sequences import Antigen

# Identical residues over the shorter chain, from which on two chains are one protein.
SAME_ANTIGEN = 0.9
# A piece of a protein is another construct of it from so many residues on, or from half of it on;
# what is less is a peptide.
_LEAST_RESIDUES, _LEAST_SHARE = 50, 0.5
# Residues in a row that are surely aligned, whatever stands around them.
_ANCHOR = 8

Chains = tuple[str, ...]


class Reading(NamedTuple):
    """How a campaign reads an antigen."""

    # Itself where it is the campaign's or a mutant of the same length, the campaign's where it is
    # another construct of that; None if it is another antigen
    antigen: Antigen | None
    note: str = ""  # In what it differs from the campaign's
    # Whether the campaign's takes its place, so that the difference does not count
    replaced: bool = False


class CampaignAntigens:
    """The antigens of a campaign, as others are compared with them; without one, any will do.

    `parents` are the antigens of the campaign's parents, whose mutants of the same length the model
    compares residue by residue.

    >>> lysozyme = "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGS"
    >>> known = CampaignAntigens([Antigen((lysozyme,), "lysozyme")])
    >>> tagged, cut = known.read([Antigen((lysozyme + "GSHHHHHH",)), Antigen((lysozyme[9:],))])
    >>> print(tagged.note)
    antigen differs from the campaign's: 8 residues more at its ends (a tag or a longer construct)
    >>> print(cut.note)
    antigen differs from the campaign's: 9 residues fewer at its ends (maybe of the epitope)
    >>> other = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ",))
    >>> print(known.read([other])[0].antigen)
    None
    """

    def __init__(self, antigens: Sequence[Antigen], parents: Sequence[Antigen] = ()) -> None:
        self.antigens = tuple(antigens)
        self._parents = tuple(parents) or self.antigens
        self._read = {antigen.chains: Reading(antigen) for antigen in self.antigens}
        self._read[UNKNOWN_ANTIGEN.chains] = Reading(UNKNOWN_ANTIGEN)

    def read(self, antigens: Sequence[Antigen]) -> list[Reading]:
        """How the campaign reads each antigen."""
        if not self.antigens:
            return [Reading(antigen) for antigen in antigens]
        new = {antigen.chains: antigen for antigen in antigens if antigen.chains not in self._read}
        rest = []
        for chains, antigen in new.items():
            mutants = (antigen_mutations(p.chains, chains, SAME_ANTIGEN) for p in self._parents)
            mutations = next((m for m in mutants if m is not None), None)
            if mutations is None:
                rest.append(chains)
            else:
                changed = counted(len(mutations), "residue")
                note = f"antigen differs from the campaign's: {changed} changed"
                self._read[chains] = Reading(antigen, note)
        if rest:
            self._read.update(self._constructs(rest))
        return [self._read[antigen.chains] for antigen in antigens]

    def _constructs(self, molecules: Sequence[Chains]) -> dict[Chains, Reading]:
        """Antigens that no residue-by-residue comparison reaches, by alignment of their chains."""
        targets = list(
            dict.fromkeys(chain for antigen in self.antigens for chain in antigen.chains)
        )
        chains = [chain for molecule in molecules for chain in molecule]
        queries = list(dict.fromkeys(chain for chain in chains if chain not in set(targets)))
        identity = {(chain, chain): 1.0 for chain in targets}
        hits = align_chains(queries, targets)
        for first, second, value in zip(hits.first, hits.second, hits.identity, strict=True):
            key = queries[first], targets[second]
            identity[key] = max(identity.get(key, 0.0), float(value))
        readings = {}
        for molecule in molecules:
            highest, readings[molecule] = 0.0, Reading(None)
            for antigen in self.antigens:
                matched = _matched(molecule, antigen.chains, identity)
                if matched and (least := min(identity[pair] for pair in matched)) > highest:
                    note = _differences(molecule, antigen.chains, matched)
                    highest, readings[molecule] = least, Reading(antigen, note, replaced=True)
        return readings


def _matched(
    molecule: Chains, antigen: Chains, identity: dict[tuple[str, str], float]
) -> list[tuple[str, str]]:
    """Chains of both that are one protein; none unless all of one side's are."""
    left = list(antigen)
    matched = []
    for chain in molecule:
        best = max(left, key=lambda target: identity.get((chain, target), 0.0), default="")
        shorter, longer = sorted((len(chain), len(best)))
        whole = shorter >= min(_LEAST_RESIDUES, _LEAST_SHARE * longer)
        if whole and identity.get((chain, best), 0.0) >= SAME_ANTIGEN:
            left.remove(best)
            matched.append((chain, best))
    return matched if len(matched) == min(len(molecule), len(antigen)) else []


def _differences(molecule: Chains, antigen: Chains, matched: Sequence[tuple[str, str]]) -> str:
    """A sentence on how an antigen differs from the campaign's."""
    ends = [_ends(before, chain) for chain, before in matched]
    changed, fewer, more = (sum(counts) for counts in zip(*ends, strict=True))
    texts = (
        (changed, "changed"),
        (more, "more at its ends (a tag or a longer construct)"),
        (fewer, "fewer at its ends (maybe of the epitope)"),
    )
    parts = [f"{counted(count, 'residue')} {text}" for count, text in texts if count]
    if len(molecule) != len(antigen):
        parts.append(f"{len(molecule)} chains for {len(antigen)}")
    what = ", ".join(parts) or "its chains are in another order"
    return f"antigen differs from the campaign's: {what}"


def _ends(known: str, other: str) -> tuple[int, int, int]:
    """Residues that differ within what both have; residues that only the first, the second has.

    >>> _ends("MKTAYIAKQRQISFVKSHFSRQ", "AYIAKQRQISFWKSHFSRQHHHHHH")
    (1, 3, 6)
    """
    blocks = difflib.SequenceMatcher(None, known, other, autojunk=False).get_matching_blocks()[:-1]
    anchors = [block for block in blocks if block.size >= _ANCHOR]
    anchors = anchors or sorted(blocks, key=lambda block: -block.size)[:1]
    first, last = anchors[0], anchors[-1]
    inner = [block for block in blocks if first.a <= block.a <= last.a]
    spans = last.a + last.size - first.a, last.b + last.size - first.b
    changed = max(spans) - sum(block.size for block in inner)
    heads = known[: first.a][::-1], other[: first.b][::-1]
    tails = known[last.a + last.size :], other[last.b + last.size :]
    fewer = more = 0
    for before, after in (heads, tails):
        common = min(len(before), len(after))
        same = sum(a == b for a, b in zip(before, after, strict=False))
        if 2 * same < common:  # another end, no mutations of this one
            common = same = 0
        changed += common - same
        fewer, more = fewer + len(before) - common, more + len(after) - common
    return changed, fewer, more

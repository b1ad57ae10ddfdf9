"""Token ids of molecules: what they say, and the states of the residues among them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from paratope.core.errors import InputError
from paratope.encoders.protocol import Encoder
from paratope.encoders.transformer import TokenizedUnit, TokenTable, TransformerEncoder
from paratope.molecules.sequences import ALPHABET

if TYPE_CHECKING:
    import torch


class TokenEncoder(Protocol):
    """What encodes token ids: any `TransformerEncoder`, or `LetterTokens` of another encoder."""

    paired: bool

    @property
    def token_table(self) -> TokenTable:
        """What the token ids mean."""
        ...

    def tokenize(self, unit: tuple[str, ...]) -> TokenizedUnit:
        """Tokens of chains that are encoded together."""
        ...

    def residue_states(self, units: Sequence[TokenizedUnit]) -> list["torch.Tensor"]:
        """States of each unit's residues, (residues, dim)."""
        ...


class LetterTokens:
    """Token ids for an encoder that reads letters: one per letter, and one that ends a chain.

    Parameters
    ----------
    encoder : Encoder
        Unpaired.

    Examples
    --------
    >>> from paratope.encoders import load_encoder
    >>> tokens = LetterTokens(load_encoder("residue"))
    >>> tokens.tokenize(("ACD",)).ids
    [1, 2, 3, 22]
    >>> [states.shape for states in tokens.residue_states([tokens.tokenize(("ACD",))])]
    [torch.Size([3, 51])]
    """

    paired = False
    token_table = TokenTable(
        residues={letter: number for number, letter in enumerate(ALPHABET, start=1)},
        special=frozenset((len(ALPHABET) + 1,)),
        ends=frozenset((len(ALPHABET) + 1,)),
        pad=0,
        unknown=len(ALPHABET) + 2,
    )

    def __init__(self, encoder: Encoder) -> None:
        assert not encoder.paired
        self.encoder = encoder

    def tokenize(self, unit: tuple[str, ...]) -> TokenizedUnit:
        """Tokens of one chain."""
        (chain,) = unit
        ids = [self.token_table.residues[letter] for letter in chain]
        return TokenizedUnit([*ids, *self.token_table.ends], list(range(len(chain))))

    def residue_states(self, units: Sequence[TokenizedUnit]) -> list["torch.Tensor"]:
        """States of each chain's residues, (residues, dim)."""
        import torch

        letters = {number: letter for letter, number in self.token_table.residues.items()}
        chains = [
            ("".join(letters[unit.ids[place]] for place in unit.residue_positions),)
            for unit in units
        ]
        return [torch.from_numpy(rows) for rows in self.encoder.encode(chains)]


def token_encoder(encoder: Encoder) -> TokenEncoder:
    """The encoder, as one that takes token ids."""
    return encoder if isinstance(encoder, TransformerEncoder) else LetterTokens(encoder)


def units_of_tokens(
    encoder: TokenEncoder, ids: "torch.Tensor", mask: "torch.Tensor"
) -> list[list[TokenizedUnit]]:
    """What is encoded together in each row of token ids, without padding.

    Parameters
    ----------
    encoder : TokenEncoder
        An unpaired one encodes each chain alone; a chain goes to its end token.
    ids, mask : Tensor
        (B, T) each; tokens whose mask is 0 are padding.

    Raises
    ------
    InputError
        If the shapes are no such, or a row holds no residue, or a token that is none.
    """
    if ids.ndim != 2 or ids.shape != mask.shape or ids.is_floating_point():
        raise InputError(
            f"token ids and mask should be whole numbers of one shape (rows, tokens), got "
            f"{tuple(ids.shape)} and {tuple(mask.shape)}, {ids.dtype}"
        )
    rows = []
    for number, (row, seen) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
        units = _units(encoder, [token for token, one in zip(row, seen, strict=True) if one])
        if isinstance(units, str):
            raise InputError(f"row {number} of the token ids: {units}")
        rows.append(units)
    return rows


def _units(encoder: TokenEncoder, tokens: list[int]) -> list[TokenizedUnit] | str:
    """Units of one row's tokens, or what is wrong with them."""
    table = encoder.token_table
    residues = frozenset(table.residues.values())
    units: list[TokenizedUnit] = []
    ids: list[int] = []
    places: list[int] = []
    for place, token in enumerate(tokens):
        if token == table.pad:
            continue
        if token == table.unknown:
            return (
                f"token {place} is the unknown token; this vocabulary knows every residue, so the "
                "text was given to the tokenizer in another form (ProtT5's wants spaces between "
                "residues); use the model's own tokenizers"
            )
        if token not in residues and token not in table.special:
            return f"token {place} has the id {token}, which is no residue of this vocabulary"
        if token in residues:
            places.append(len(ids))
        ids.append(token)
        if token in table.ends and not encoder.paired:
            units.append(TokenizedUnit(ids, places))
            ids, places = [], []
    if ids:
        units.append(TokenizedUnit(ids, places))
    if not units or not all(unit.residue_positions for unit in units):
        return (
            "no residue in it" if not any(u.residue_positions for u in units) else "an empty chain"
        )
    return units

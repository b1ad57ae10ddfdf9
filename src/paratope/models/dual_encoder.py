"""Compatibility with the releases: `DualEncoderWithCrossAttention`, token ids in, pKd out.

The v2.6 release's example trains and calls its model by token ids of a tokenizer. Nothing else in
the package needs this file: `paratope.models.network` is the network, and reads embeddings.
"""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from paratope.core.errors import EncoderError, InputError, ModelError
from paratope.encoders import ENCODERS, Encoder, load_encoder, molecule_units
from paratope.encoders.language_models import (
    TokenizedUnit,
    TokenTable,
    TransformerEncoder,
    padded_ids,
)
from paratope.encoders.protocol import Role
from paratope.models.batches import fit_molecule
from paratope.models.fine_tuning import AdaptedTower, adapt
from paratope.models.network import Network
from paratope.models.recipes import NetworkConfig, Recipe, load_recipe
from paratope.molecules.sequences import ALPHABET, Chains, clean_antibody, clean_antigen


class LetterTokens:
    """Token ids for an unpaired encoder of letters: one per letter, and one that ends a chain."""

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

    def tokenize(self, unit: Chains) -> TokenizedUnit:
        """Tokens of one chain."""
        (chain,) = unit
        ids = [self.token_table.residues[letter] for letter in chain]
        return TokenizedUnit([*ids, *self.token_table.ends], list(range(len(chain))))

    def residue_states(self, units: Sequence[TokenizedUnit]) -> list[Tensor]:
        """States of each chain's residues, (residues, dim)."""
        letters = {number: letter for letter, number in self.token_table.residues.items()}
        chains = [
            ("".join(letters[unit.ids[position]] for position in unit.residue_positions),)
            for unit in units
        ]
        return [torch.from_numpy(rows) for rows in self.encoder.encode(chains)]


TokenEncoder = TransformerEncoder | LetterTokens


def token_encoder(encoder: Encoder) -> TokenEncoder:
    """The encoder, as one that takes token ids."""
    return encoder if isinstance(encoder, TransformerEncoder) else LetterTokens(encoder)


def units_of_tokens(encoder: TokenEncoder, ids: Tensor, mask: Tensor) -> list[list[TokenizedUnit]]:
    """What is encoded together in each row of token ids and mask, (B, T) each, without padding.

    An unpaired encoder reads each chain, up to its end token, alone. Raises `InputError` for other
    shapes, a row without a residue, or a token that is none.
    """
    if ids.ndim != 2 or ids.shape != mask.shape or ids.is_floating_point():
        raise InputError(
            f"token ids and mask should be whole numbers of one shape (rows, tokens), got "
            f"{tuple(ids.shape)} and {tuple(mask.shape)}, {ids.dtype}"
        )
    table = encoder.token_table
    residues = frozenset(table.residues.values())
    rows = []
    for number, (row, seen) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
        tokens = [token for token, is_seen in zip(row, seen, strict=True) if is_seen]
        units = [TokenizedUnit([], [])]
        for position, token in enumerate(tokens):
            if token == table.pad:
                continue
            unit, wrong = units[-1], ""
            if token == table.unknown:
                wrong = (
                    "is the unknown token; this vocabulary knows every residue, so the text was "
                    "given to the tokenizer in another form (ProtT5's wants spaces between "
                    "residues); use the model's own tokenizers"
                )
            elif token in residues:
                unit.residue_positions.append(len(unit.ids))
            elif token not in table.special:
                wrong = f"has the id {token}, which is no residue of this vocabulary"
            if wrong:
                raise InputError(f"row {number} of the token ids: token {position} {wrong}")
            unit.ids.append(token)
            if token in table.ends and not encoder.paired:
                units.append(TokenizedUnit([], []))
        if len(units) > 1 and not units[-1].ids:
            units.pop()
        if not all(unit.residue_positions for unit in units):
            empty = not any(unit.residue_positions for unit in units)
            what = "no residue in it" if empty else "an empty chain"
            raise InputError(f"row {number} of the token ids: {what}")
        rows.append(units)
    return rows


class ChainTokenizer:
    """Token ids of molecules for one encoder: every residue a token of its own, none unknown.

    >>> tokenizer = ChainTokenizer(load_encoder("antiberty"), "antibody")
    >>> tokenizer(["EVQL|DIQ", "EVQ"])["input_ids"].shape
    torch.Size([2, 11])
    """

    def __init__(self, encoder: Encoder, role: Role, max_residues: int = 0) -> None:
        self.encoder, self.max_residues = encoder, max_residues
        self.role: Role = role
        self._tokens = token_encoder(encoder)

    def __call__(
        self,
        sequences: str | Sequence[str],
        return_tensors: str = "pt",
        padding: bool = True,
        truncation: bool = True,
        max_length: int | None = None,
    ) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, (molecules, tokens) int64 each.

        Chains are separated by ``|``; white space does not matter. With `truncation` a molecule
        over the limit is cut, with a warning; else refused. `max_length` counts special tokens.
        Raises `InputError` for what is no sequence, may not be cut or has no equal length,
        `EncoderError` as the encoder.
        """
        if return_tensors != "pt":
            raise InputError(f"return_tensors={return_tensors!r}: expected 'pt', torch tensors")
        texts = [sequences] if isinstance(sequences, str) else list(sequences)
        if not texts:
            raise InputError("no sequence to tokenize; expected at least one")
        rows = []
        clean = clean_antibody if self.role == "antibody" else clean_antigen
        for text in texts:
            chains = clean(text)[0].chains
            limit = self.max_residues
            if max_length is not None:
                around = len(self._ids(chains)) - sum(map(len, chains))
                if max_length <= around:
                    raise InputError(
                        f"max_length={max_length} leaves no room beside {around} special tokens"
                    )
                limit = min(limit or max_length, max_length - around)
            kept, note = fit_molecule(self.encoder, chains, self.role, limit)
            if note is not None:
                if not truncation:
                    raise InputError(f"{note}; this may be done with truncation=True only")
                warnings.warn(note, UserWarning, stacklevel=2)
            rows.append(self._ids(kept))
        if not padding and len(set(map(len, rows))) > 1:
            raise InputError("molecules of different lengths need padding=True")
        ids, mask = padded_ids(rows, self._tokens.token_table.pad)
        return {"input_ids": ids, "attention_mask": mask}

    def _ids(self, chains: Chains) -> list[int]:
        units = molecule_units(chains, self.encoder.paired)
        return [token for unit in units for token in self._tokens.tokenize(unit).ids]


class DualEncoderWithCrossAttention(Network):
    """Two frozen encoders and the network of a recipe, from token ids of both sides to pKd.

    Only the network is trained, saved and loaded; the encoders are the recipe's or those given (as
    for `paratope.encoders.load_encoder`), and are read when first needed. `num_labels` is 1, the
    pKd. Without `use_cross_attention` both sides are averaged over their residues and meet only in
    the regressor, as in v2.5; it and `dropout` default to the recipe's. `recipe` is a name, a TOML
    file or settings. Raises `ModelError` for another number of labels, `TrainingError` for an
    unknown recipe, `EncoderError` for an unknown encoder.

    >>> model = DualEncoderWithCrossAttention(
    ...     antibody_encoder="antiberty", antigen_encoder="residue", recipe="default"
    ... ).eval()
    >>> antibody = model.antibody_tokenizer("EVQLVESGG|DIQMTQ")
    >>> antigen = model.antigen_tokenizer("MKTAYIAKQR")
    >>> with torch.no_grad():
    ...     pkd = model(
    ...         antibody["input_ids"],
    ...         antibody["attention_mask"],
    ...         antigen["input_ids"],
    ...         antigen["attention_mask"],
    ...     )
    >>> pkd.shape
    torch.Size([1])
    """

    def __init__(
        self,
        num_labels: int = 1,
        dropout: float | None = None,
        use_cross_attention: bool | None = None,
        *,
        antibody_encoder: str | Encoder | None = None,
        antigen_encoder: str | Encoder | None = None,
        recipe: str | Path | Recipe = "v2.6",
    ) -> None:
        if num_labels != 1:
            raise ModelError(f"num_labels={num_labels}; this network has one label, the pKd")
        settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        given = {
            "antibody": antibody_encoder or settings.encoders.antibody,
            "antigen": antigen_encoder or settings.encoders.antigen,
        }
        sizes = settings.network.model_dump()
        changes = {"dropout": dropout, "use_cross_attention": use_cross_attention}
        sizes |= {name: value for name, value in changes.items() if value is not None}
        for side, encoder in given.items():
            try:
                known = load_encoder(encoder) if isinstance(encoder, str) else encoder
            except EncoderError:  # of a published one the width is known without its files
                if encoder not in ENCODERS:
                    raise
                known = ENCODERS[str(encoder)]
            sizes[f"{side}_dim"] = known.dim
        super().__init__(NetworkConfig(**sizes))
        self.recipe = settings
        self._given: Mapping[str, str | Encoder] = given
        self._encoders: dict[str, Encoder] = {}
        named = {
            side: encoder if isinstance(encoder, str) else encoder.name
            for side, encoder in given.items()
        }
        adapt(self, settings.lora, named)  # an encoder that was trained is one of its own

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        antibody_encoder: str | Encoder | None = None,
        antigen_encoder: str | Encoder | None = None,
    ) -> Self:
        """The model of a run's ``checkpoints/checkpoint_latest.pth`` or best weights, to predict.

        Nothing in it is executed; `ModelError` if it is no checkpoint. The encoders are named if
        they are not where the run had them.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            weights = state["model_state_dict"]
            if "recipe" in state:
                recipe = Recipe.model_validate(state["recipe"])
            elif (settings := Path(path).resolve().parents[1] / "run.toml").is_file():
                recipe = load_recipe(settings)
            else:
                raise KeyError("recipe")
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{path}: cannot be read as a checkpoint: {first}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: not a checkpoint of paratope train: {error!r}") from error
        model = cls(
            antibody_encoder=antibody_encoder, antigen_encoder=antigen_encoder, recipe=recipe
        )
        model.load_state_dict(weights)
        return model.eval()

    @property
    def antibody_encoder(self) -> Encoder:
        """The antibodies' encoder."""
        return self._encoder("antibody")

    @property
    def antigen_encoder(self) -> Encoder:
        """The antigens' encoder."""
        return self._encoder("antigen")

    @property
    def antibody_tokenizer(self) -> ChainTokenizer:
        """What makes token ids of antibodies, ``"HEAVY|LIGHT"`` or ``"HEAVY"``, for this model."""
        return self._tokenizer("antibody")

    @property
    def antigen_tokenizer(self) -> ChainTokenizer:
        """What makes token ids of antigens for this model; chains are separated by ``|``."""
        return self._tokenizer("antigen")

    def _tokenizer(self, side: Role) -> ChainTokenizer:
        return ChainTokenizer(self._encoder(side), side, self.recipe.encoders.max_residues)

    # pairs come as token ids here, not as a batch of embeddings
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        antibody_input_ids: Tensor,
        antibody_attention_mask: Tensor,
        antigen_input_ids: Tensor,
        antigen_attention_mask: Tensor,
    ) -> Tensor:
        """Predicted pKd of each row, float32 (B,); special tokens and padding have no part in it.

        Ids and masks are (B, T) and (B, T'), from the tokenizers here or the encoders' own. Raises
        `InputError` if the numbers of rows differ, or a token is no residue.
        """
        if len(antibody_input_ids) != len(antigen_input_ids):
            raise InputError(
                f"{len(antibody_input_ids)} antibodies and {len(antigen_input_ids)} antigens; "
                "expected one antigen for each antibody"
            )
        antibody = self._latent("antibody", antibody_input_ids, antibody_attention_mask)
        antigen = self._latent("antigen", antigen_input_ids, antigen_attention_mask)
        return self.interact(*antibody, *antigen).mean

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over weights; `ModelError` if they are of a network of other sizes."""
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except RuntimeError as error:
            raise ModelError(
                "these are the weights of a network of other sizes or encoders; "
                "DualEncoderWithCrossAttention.from_checkpoint(path) builds the one of a run: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error

    def _latent(self, side: Role, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, L, dim) of residues, and their mask (B, L)."""
        tower, device = getattr(self, f"{side}_tower"), self.output_center.device
        if isinstance(tower, AdaptedTower):
            tower.move_encoder(device)
            tower = tower.tower
        encoder = token_encoder(self._encoder(side))
        try:
            rows = units_of_tokens(encoder, ids, mask)
        except InputError as error:
            raise InputError(f"{side}: {error}") from None
        states = iter(encoder.residue_states([unit for row in rows for unit in row]))
        molecules = [torch.cat([next(states) for _ in row]) for row in rows]
        lengths = torch.tensor([len(molecule) for molecule in molecules])
        tokens = torch.nn.utils.rnn.pad_sequence(molecules, batch_first=True)
        inside = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(device)
        return tower(tokens.to(device), inside), inside

    def _encoder(self, side: Role) -> Encoder:
        tower = getattr(self, f"{side}_tower")
        if isinstance(tower, AdaptedTower):
            return tower.encoder
        if side not in self._encoders:
            given = self._given[side]
            device = str(self.output_center.device)
            encoder = load_encoder(given, device) if isinstance(given, str) else given
            self._encoders[side] = encoder
        return self._encoders[side]

"""``paratope encoders``: what can encode, fetching it, and the store of what was encoded."""

from pathlib import Path
from typing import Annotated

import typer

from paratope.cli.group import command_app

app = command_app("List and download encoders; look after their cache.")


@app.command("list", epilog="Example: paratope encoders list")
def list_encoders() -> None:
    """List every encoder: size of its vectors, longest chain, licence, whether it is here."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from paratope.encoders import ENCODERS

    columns = ("name", "numbers", "residues", "chains", "weights", "licence", "here", "what")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for name, entry in ENCODERS.items():
        table.add_row(
            name,
            str(entry.dim),
            "any" if entry.max_residues is None else str(entry.max_residues),
            "together" if entry.paired else "each alone",
            escape(entry.weights),
            entry.licence,
            "yes" if entry.is_here() else "no",
            entry.summary,
        )
    console = Console()
    # wide enough for one line each where nobody looks: a file, a pipe
    console.print(table, width=None if console.is_terminal else 160)


@app.command(
    epilog="Example: paratope encoders download esm2-650m\n\n"
    "Example: paratope encoders download igt5 --folder encoders/igt5"
)
def download(
    name: Annotated[str, typer.Argument(help="Name of the encoder; NAME@COMMIT for one commit.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Put plain files here, to carry to a machine without a network."),
    ] = None,
) -> None:
    """Download an encoder's weights from their hub: the only command that uses the network.

    Without --folder they go to the hub's own cache (HF_HOME). Files in a folder are used by
    naming it, as in --encoders esm2-650m@FOLDER,...; or by setting PARATOPE_ENCODERS to its parent.
    """
    from paratope.encoders import download_encoder

    typer.echo(download_encoder(name, folder))


@app.command(epilog="Example: paratope encoders cache\n\nExample: paratope encoders cache --clear")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all stored embeddings.")] = False,
) -> None:
    """Show or clear what has been encoded: the embedding store in PARATOPE_CACHE."""
    from paratope.embedding_store import cache_folder, clear_caches, list_caches

    folder = cache_folder()
    if clear:
        freed = clear_caches()
        typer.echo(f"{folder}: {freed / 1e6:.1f} MB freed")
        return
    caches = list_caches()
    for stored in caches:
        count = "unreadable" if stored.entries is None else f"{stored.entries} molecules"
        typer.echo(f"{stored.encoder}\t{count}\t{stored.size_bytes / 1e6:.1f} MB")
    total = sum(stored.size_bytes for stored in caches)
    typer.echo(f"{folder}: {total / 1e6:.1f} MB of embeddings, {len(caches)} encoders")

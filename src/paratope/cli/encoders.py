"""``paratope encoders``: what can encode, fetching it, and the store of what was encoded."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from paratope.cli.group import command_app, command_line, finish, print_table, say, table_console

app = command_app("List, download and time encoders; manage their cache.")


@app.command("list", epilog="Example: paratope encoders list")
def list_encoders() -> None:
    """List every encoder: size of its vectors, longest chain, licence, whether it is here."""
    from paratope.encoders import ENCODERS

    columns = ("name", "numbers", "residues", "licence", "here", "weights", "what it is")
    rows = []
    for name, entry in ENCODERS.items():
        limit, here = entry.max_residues or "any", "yes" if entry.is_here() else "no"
        rows.append((name, entry.dim, limit, entry.licence, here, entry.weights, entry.summary))
    print_table(table_console(), columns, rows, padding=(0, 2, 0, 0))
    finish("get one that is not here: paratope encoders download NAME")


@app.command(
    epilog="Example: paratope encoders download esm2-650m\n\n"
    "Example: paratope encoders download igt5 --folder encoders/igt5"
)
def download(
    name: Annotated[str, Argument(help="Name of the encoder; NAME@COMMIT for one commit.")],
    folder: Annotated[
        Path | None, Option(help="Folder for plain files, to copy to a machine without a network.")
    ] = None,
) -> None:
    """Download an encoder's weights from their hub: the only command that uses the network.

    Without --folder they go to the hub's own cache (HF_HOME). Files in a folder are used by
    naming it, as in --encoders esm2-650m@FOLDER,...; or by setting PARATOPE_ENCODERS to its parent.
    """
    from paratope.encoders import download_encoder

    typer.echo(download_encoder(name, folder))
    pair = f"{name}@{folder}" if folder else name
    finish(command_line("train", "measurements.csv", "--encoders", f"{pair},residue", "-o", "run"))


@app.command(epilog="Example: paratope encoders cache\n\nExample: paratope encoders cache --clear")
def cache(
    clear: Annotated[bool, Option("--clear", help="Remove all stored embeddings.")] = False,
) -> None:
    """Show or clear what has been encoded: the embedding store in PARATOPE_CACHE."""
    from paratope.encoders.embedding_store import cache_folder, clear_caches, list_caches

    folder = cache_folder()
    if clear:
        freed = clear_caches()
        typer.echo(f"{folder}: {freed / 1e6:.1f} MB freed")
        finish("nothing; the next command encodes again what it needs")
        return
    caches = list_caches()
    for stored in caches:
        count = "unreadable" if stored.entries is None else f"{stored.entries} entries"
        typer.echo(f"{stored.encoder}\t{count}\t{stored.size_bytes / 1e6:.1f} MB")
    total = sum(stored.size_bytes for stored in caches)
    typer.echo(f"{folder}: {total / 1e6:.1f} MB of embeddings, {len(caches)} encoders")
    finish("to free the space: paratope encoders cache --clear")


@app.command(epilog="Example: paratope encoders benchmark --sequences 256")
def benchmark(
    sequences: Annotated[int, Option(min=1, help="Antibody chains to encode each way.")] = 64,
    repeats: Annotated[int, Option(min=1, help="Times that each way has its turn.")] = 3,
) -> None:
    """Measure how fast this machine's processor encodes antibody chains, and how exactly."""
    from paratope.cli.doctor import D13_HEAVY, D13_LIGHT
    from paratope.encoders import encoding_speed

    ways = encoding_speed.ways_to_encode()
    chains = encoding_speed.chains_like((D13_HEAVY, D13_LIGHT), sequences)
    speeds, peak = encoding_speed.compare_speed(ways, chains, repeats)
    columns = ("antiberty in", "sequences/s", "GFLOP/s", "of peak", "speed", "drift")
    rows = [
        (
            speed.name,
            f"{speed.sequences_per_second:.1f}",
            f"{speed.gflops:.0f}",
            f"{speed.share_of_peak:.0%}",
            f"{speed.ratio:.2f} x",
            f"{speed.drift:.1e}",
        )
        for speed in speeds
    ]
    print_table(table_console(), columns, rows, padding=(0, 2, 0, 0))
    say(
        f"peak: {peak:.0f} GFLOP/s of float32 matrix products here; operations of padding do not "
        "count; drift: root mean square difference of embeddings from the first, relative to theirs"
    )
    finish(
        "encode in int8 where it is faster: "
        + command_line("screen", "library.fasta", "--model", "my-campaign", "--int8", "-o", "hits")
    )

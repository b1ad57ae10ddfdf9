"""``paratope serve``: pages and an API over the models, on this machine."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from paratope.cli.group import command_app, say

app = command_app()


@app.command(
    epilog="Example: paratope serve\n\n"
    "Example: PARATOPE_TOKEN=$(openssl rand -hex 24) paratope serve --host 0.0.0.0 "
    "--allow-host antibodies.example.org --model default --model my-campaign"
)
def serve(
    host: Annotated[
        str,
        Option(
            help="Address to listen on; PARATOPE_TOKEN is needed for "
            "others than this machine's own."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65_535, help="Port; 0: one that is free.")] = 8000,
    model: Annotated[
        list[str] | None, Option(help="Model folder or bundled name; may be repeated.")
    ] = None,
    folder: Annotated[
        Path | None,
        Option(help="Private folder of uploads, jobs and results; default: in the cache."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, Option(help="Further name of this server, as in the Host header.")
    ] = None,
    log_sequences: Annotated[
        bool, Option("--log-sequences", help="Write what is predicted into the log.")
    ] = False,
) -> None:
    """Serve pages and an API at http://127.0.0.1:8000 until Ctrl-C.

    Nothing leaves this machine. Logs are lines of JSON on stderr, without sequences.
    """
    from paratope.core.errors import MissingExtraError
    from paratope.encoders.embedding_store import cache_folder

    try:
        from paratope.web.application import run
        from paratope.web.settings import TOKEN_VARIABLE, ServeSettings
    except ImportError as error:
        raise MissingExtraError("paratope serve", "serve") from error
    settings = ServeSettings(
        folder=cache_folder() / "serve" if folder is None else folder,
        models=tuple(model or ["default"]),
        host=host,
        port=port,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        allowed_hosts=tuple(allow_host or ()),
        log_sequences=log_sequences,
    )
    run(settings, lambda address: say(f"Paratope is at {address} (Ctrl-C ends it)"))

"""The command line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from lakeservice.access.keys import generate_key
from lakeservice.config import Secret, Serve, Settings, default_cache, load_settings
from schemas.errors import LakeError

app = typer.Typer(
    help="One address for a facility's data: ingest detector files, search and stream them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Names and notes come from others: brackets in them are no markup.
console = Console(markup=False)
errors = Console(stderr=True)
Lake = Annotated[str, typer.Option("--lake", help="Path or URI of the lake.")]
Url = Annotated[str, typer.Option("--url", help="Address of a running server.")]
Key = Annotated[str, typer.Option("--api-key", help="API key; LAKE_API_KEY works too.")]


def main() -> None:
    """Run the command line; an error of ours is a sentence and exit code 1, never a traceback."""
    try:
        app()
    except LakeError as error:
        errors.print(
            f"[red]error[/red] {escape(error.message)} [dim]({error.kind})[/dim]", highlight=False
        )
        sys.exit(1)


def _settings(config: Path | None = None) -> Settings:
    return load_settings(config, os.environ)


def _cache(settings: Settings) -> Path:
    return Path(settings.cache) if settings.cache else default_cache(os.environ)


@app.command()
def serve(
    path: Annotated[
        str, typer.Argument(help="A lake, a folder of files, or where a new lake goes.")
    ],
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless told otherwise.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP; 0 for any free one.")] = None,
    flight_port: Annotated[
        int | None, typer.Option(help="Port of Arrow Flight; 0 for any free one.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Letters and digits; generated and printed when absent.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Anybody may read without a key.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow new files in the folder.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
) -> None:
    """Serve a lake, or a folder of files as they are, over HTTP and Arrow Flight."""
    from lakeservice.commands.serve import run_server  # 0.5 s of imports

    settings = _settings(config)
    given = {"host": host, "port": port, "flight_port": flight_port, "public": public or None}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    key = Secret(api_key) if api_key else settings.serve.api_key
    generated = key is None
    listen: Serve = replace(settings.serve, **changes, api_key=key or Secret(generate_key()))
    run_server(
        path,
        replace(settings, serve=listen),
        _cache(settings),
        watch=watch,
        show_key=generated,
        console=console,
    )


@app.command()
def ingest(
    sources: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    lake: Lake = "",
    url: Url = "",
    into: Annotated[str, typer.Option(help="Container that they go into.")] = "",
    register: Annotated[
        bool, typer.Option("--register", help="Leave the files where they are (default).")
    ] = False,
    convert: Annotated[
        bool, typer.Option("--convert", help="Copy the data into the lake, chunked for reading.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that read files.", min=1)] = 2,
    api_key: Key = "",
) -> None:
    """Put files into a lake; running it again changes nothing that did not change."""
    from lakeservice.commands.ingest import run_ingest

    if register and convert:
        raise typer.BadParameter("choose one of --register and --convert")
    ok = run_ingest(
        sources,
        lake=lake,
        url=url,
        api_key=api_key or os.environ.get("LAKE_API_KEY", ""),
        into=into,
        convert=convert,
        workers=workers,
        cache=_cache(_settings()),
        console=console,
    )
    raise typer.Exit(0 if ok else 1)


@app.command()
def search(
    query: Annotated[
        str, typer.Argument(help="Like: start.plan_name = 'scan' AND sample.temp > 250")
    ] = "",
    lake: Lake = "",
    url: Url = "",
    under: Annotated[str, typer.Option(help="Container to search below.")] = "",
    sort: Annotated[
        list[str] | None, typer.Option(help="Metadata key; with - in front, descending.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
    show: Annotated[list[str] | None, typer.Option(help="Metadata keys to print.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
    api_key: Key = "",
) -> None:
    """Find nodes by their metadata."""
    from lakeservice.commands.search import run_search

    run_search(
        query,
        lake=lake,
        url=url,
        api_key=api_key or os.environ.get("LAKE_API_KEY", ""),
        under=under,
        sort=sort or [],
        limit=limit,
        show=show or [],
        as_json=as_json,
        cache=_cache(_settings()),
        console=console,
    )


@app.command()
def export(
    path: Annotated[str, typer.Argument(help="Path of a node.")],
    target: Annotated[
        Path,
        typer.Argument(
            help="File to write, in the form of its suffix: .npy, .tif, .png, .h5, .parquet, .csv…"
        ),
    ],
    lake: Lake = "",
    url: Url = "",
    select: Annotated[str, typer.Option("--slice", help="Part of an array: 0:10,:,5")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(help="What the form knows besides: cmap=viridis; may be repeated."),
    ] = None,
    api_key: Key = "",
) -> None:
    """Write an array, a table or a container to a file, in bounded memory."""
    from lakeservice.commands.export import run_export

    run_export(
        path,
        target,
        lake=lake,
        url=url,
        api_key=api_key or os.environ.get("LAKE_API_KEY", ""),
        select=select,
        options=option or (),
        cache=_cache(_settings()),
        console=console,
    )


keys = typer.Typer(help="API keys that are kept in a lake.", no_args_is_help=True)
app.add_typer(keys, name="key")


@keys.command("create")
def key_create(
    lake: Annotated[str, typer.Argument(help="Path or URI of the lake.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do; may be repeated; all where absent.")
    ] = None,
    expires_in: Annotated[
        str, typer.Option(help="How long it is good for: 30s, 5m, 12h, 7d; for ever where absent.")
    ] = "",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make a key for all servers of a lake, and print it: it is shown this once."""
    from lakeservice.commands.keys import run_create

    run_create(lake, scope or None, expires_in, note or None, console)


@keys.command("list")
def key_list(lake: Annotated[str, typer.Argument(help="Path or URI of the lake.")]) -> None:
    """Print the keys of a lake by their first eight characters; no key itself."""
    from lakeservice.commands.keys import run_list

    run_list(lake, console)


@keys.command("revoke")
def key_revoke(
    lake: Annotated[str, typer.Argument(help="Path or URI of the lake.")],
    first_eight: Annotated[str, typer.Argument(help="First eight characters of the key.")],
) -> None:
    """Make a key worthless, at every server of the lake within seconds."""
    from lakeservice.commands.keys import run_revoke

    run_revoke(lake, first_eight, console)


@app.command()
def reindex(lake: Annotated[str, typer.Argument(help="Path or URI of the lake.")]) -> None:
    """Throw the index away and build it again from the log."""
    from lakeservice.commands.maintain import run_reindex

    run_reindex(lake, _cache(_settings()), console)


@app.command()
def check(
    lake: Annotated[str, typer.Argument(help="Path or URI of the lake.")],
    clean: Annotated[bool, typer.Option("--clean", help="Delete what belongs to nothing.")] = False,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Read all chunks and compare their checksums.")
    ] = False,
) -> None:
    """Look for broken entries and for data that belongs to nothing."""
    from lakeservice.commands.maintain import run_check

    ok = run_check(lake, clean=clean, chunks=chunks, console=console)
    raise typer.Exit(0 if ok else 1)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    size: Annotated[str, typer.Option(help="small or full")] = "small",
) -> None:
    """Make a realistic run, ingest it, serve it, read it back, and print the figures."""
    from lakeservice.demo.run import run_demo

    raise typer.Exit(run_demo(keep=keep, size=size))

"""The commands `trainyard keys ...`: make, list and revoke API keys."""

import csv
import sys
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, list and revoke API keys.")
NOTE = "These keys are shown this once: the service keeps only their checksums."


@app.command()
def create(
    ctx: typer.Context,
    owner: Annotated[str | None, typer.Option(help="Who acts with the key.")] = None,
    scopes: Annotated[
        str | None, typer.Option(help="Of read, predict, submit, admin, separated by commas; else the first three.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="So many keys, each of an owner of its own.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="With --count, what the owners' names begin with: student01, student02, ...")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the keys as CSV.")] = False,
) -> None:
    """Make a key, or one for each member of a class. The first key of a service needs --scopes admin."""
    from trainyard.client import from_environment

    name = prefix if owner is None else owner
    if name is None or (owner is not None and prefix is not None) or ((prefix is None) != (count is None)):
        raise ValueError("Give --owner NAME for one key, or --count NUMBER and --prefix NAME for several.")
    wanted = None if scopes is None else [scope.strip() for scope in scopes.split(",") if scope.strip()]
    with from_environment(*ctx.obj) as service:
        made = service.keys.create(name, wanted, count)
    if as_csv:
        _print_csv(made)
    else:
        for key in made:
            typer.echo(f"{key['owner']}  {key['key']}  {key['id']}")
    typer.echo(NOTE, err=True)


@app.command("list")
def list_keys(ctx: typer.Context) -> None:
    """List the keys on record, newest first; never a secret."""
    from trainyard.client import from_environment

    with from_environment(*ctx.obj) as service:
        for key in service.keys.all():
            state = f"revoked {key['revoked_at'][:19]}" if key["revoked_at"] else "active"
            scopes = ",".join(key["scopes"])
            typer.echo(f"{key['id']}  {key['owner']:<16} {scopes:<25} {key['created_at'][:19]}  {state}")


@app.command()
def revoke(
    ctx: typer.Context, keys: Annotated[list[str], typer.Argument(metavar="ID...", help="The ids of keys.")]
) -> None:
    """Revoke keys for good; what their owners submitted stays theirs."""
    from trainyard.client import from_environment

    with from_environment(*ctx.obj) as service:
        for key in keys:
            service.keys.revoke(key)
            typer.echo(f"{key} is revoked")


def _print_csv(made: list[dict[str, Any]]) -> None:
    """One line a key, under a heading."""
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(("owner", "key", "id", "scopes"))
    lines.writerows((key["owner"], key["key"], key["id"], " ".join(key["scopes"])) for key in made)

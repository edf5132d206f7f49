"""`imagerepo token`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from imagerepo.boot import boot
from imagerepo.cli.commands import Commands
from imagerepo.cli.folder import Claim, is_served, writer
from imagerepo.cli.output import AsJson, show, show_one
from imagerepo.durability.state import Disk
from imagerepo.errors import DurabilityError

app = Commands(help="Make and list bearer tokens.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose token it is; owner of the sessions made with it.")],
    role: Annotated[str, typer.Option(help="reader, contributor or admin; each includes the one before.")],
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once it is durable. It is kept hashed and can't be shown again."""
    config = boot()
    from imagerepo.sessions import tokens

    with writer(config, claim=claim) as lane:
        token = tokens.create(lane, name, role)
    show_one({"name": name, "role": role, "token": token}, as_json=as_json, line=token)


@app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens' names and roles, of the server on this data folder."""
    config = boot()
    if not is_served(Disk(config.data_dir.absolute())):
        raise DurabilityError(f"no server runs on {config.data_dir}: set IMAGEREPO_DATA_DIR to the folder of one")
    show(_rows(), as_json=as_json, empty="no tokens yet: see `imagerepo token create --help`")


def _rows() -> list[dict[str, Any]]:
    from imagerepo.catalogue.models import Token

    return [
        {"name": token.name, "role": token.role, "created_at": token.created_at}
        for token in Token.objects.order_by("name")
    ]

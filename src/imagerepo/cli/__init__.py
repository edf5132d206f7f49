"""The console script `imagerepo`: each command a thin call. Exit status 0, 1 (it failed), 2 (wrong use)."""

from __future__ import annotations

from imagerepo.cli import demo, purging, reconciling, restoring, serve, settings, snapshots, tokens
from imagerepo.cli.commands import Commands

app = Commands(
    name="imagerepo",
    help="A repository of images: objects in OpenStack Swift, metadata in SQLite, commits that survive the "
    "loss of the machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.add_typer(tokens.app, name="token")
app.add_typer(snapshots.app, name="snapshot")
app.command("restore")(restoring.restore)
app.command("drill")(restoring.run_drill)
app.command("purge")(purging.purge)
app.command("reconcile")(reconciling.reconcile)
app.command("config")(settings.config)
app.command("demo")(demo.demo)
app.command("manage", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(settings.manage)

"""The command `trainyard`: the launcher of a whole service on one machine, and the client in a terminal."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from trainyard import keys_command

if TYPE_CHECKING:
    from trainyard.client import Client


class Sentences(TyperGroup):
    """Turns the errors that a user can do something about into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        # Imported here, for `trainyard --help` to stay quick.
        from trainyard.errors import TrainyardError
        from trainyard.home import HomeError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # `trainyard models | head`: Click ends quietly.
            raise
        except (TrainyardError, HomeError, ValueError, OSError) as error:
            typer.echo(f"Error: {sentence(error)}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Trainyard: POST a JSON spec, watch it learn, get a model that answers.",
)

Url = Annotated[str | None, typer.Option("--url", help="The service; else TRAINYARD_URL, else http://127.0.0.1:8000.")]
Key = Annotated[str | None, typer.Option("--key", help="An API key; else TRAINYARD_API_KEY.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="A file with the spec as JSON; - reads it from stdin.")]


app.add_typer(keys_command.app, name="keys")


@app.callback()
def connection(ctx: typer.Context, url: Url = None, key: Key = None) -> None:
    """Remember how to reach the service."""
    ctx.obj = (url, key)


def sentence(error: Exception) -> str:
    """What a person is told of an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def client(ctx: typer.Context) -> "Client":
    """The client that the options and the environment ask for."""
    from trainyard.client import from_environment

    url, key = ctx.obj
    return from_environment(url, key)


def show(value: Any) -> None:
    """Print an answer as JSON, for people and for pipes."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Training slots.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder for everything that is written.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without keys.")] = False,
) -> None:
    """Start broker, API and workers on this machine, and keep them running until Ctrl-C."""
    from trainyard.console import Console
    from trainyard.launcher import forever, launch, settings_with

    settings = settings_with(host=host, port=port, workers=workers, home=home, insecure=insecure or None)
    console = Console(sys.stdout, as_json=settings.log_format == "json")
    raise typer.Exit(launch(settings, console.log, console.say, forever))


@app.command()
def demo() -> None:
    """Start everything, train a digit reader, let it read PNG files, show the curl lines, and stop again."""
    from trainyard.demo import run

    raise typer.Exit(run())


@app.command()
def submit(
    ctx: typer.Context,
    spec: SpecFile,
    watching: Annotated[bool, typer.Option("--watch", "-w", help="Stay and show the epochs.")] = False,
) -> None:
    """Submit a job and print its id."""
    from trainyard.watching import watch_job

    with client(ctx) as service:
        job = service.submit(read_spec(spec))
        typer.echo(job["id"])
        if watching:
            raise typer.Exit(watch_job(service, job["id"]))


@app.command()
def watch(ctx: typer.Context, job: JobId) -> None:
    """Show the epochs of a job as they come; ends with exit code 1 when the job does not succeed."""
    from trainyard.watching import watch_job

    with client(ctx) as service:
        raise typer.Exit(watch_job(service, job))


@app.command()
def jobs(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only jobs of this status.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs on this data set.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    with client(ctx) as service:
        found = service.jobs(status=status, dataset=dataset, tag=tag, limit=min(limit, 100))
        for job in islice(found, limit):
            progress = job.get("progress") or {}
            epochs = f"{progress.get('epoch') or 0}/{progress.get('epochs') or '?'}"
            accuracy = (job.get("evaluation") or {}).get("accuracy")
            score = "" if accuracy is None else f"{accuracy:.4f}"
            name = job.get("name") or (job.get("spec") or {}).get("dataset", {}).get("name", "")
            typer.echo(f"{job['id']}  {job['status']:<10} {epochs:>9}  {score:<7} {name}")


@app.command()
def job(ctx: typer.Context, job: JobId) -> None:
    """Print one job as JSON."""
    with client(ctx) as service:
        show(service.job(job))


@app.command()
def cancel(
    ctx: typer.Context,
    job: JobId,
    keep_model: Annotated[bool, typer.Option("--keep-model", help="Keep what was learned so far.")] = False,
) -> None:
    """Cancel a job."""
    with client(ctx) as service:
        show(service.cancel(job, keep_model))


@app.command()
def pause(ctx: typer.Context, job: JobId) -> None:
    """Put a job aside, so that its worker is free for others."""
    with client(ctx) as service:
        show(service.pause(job))


@app.command()
def resume(ctx: typer.Context, job: JobId) -> None:
    """Let a paused job go on after its last recorded epoch."""
    with client(ctx) as service:
        show(service.resume(job))


@app.command()
def change(
    ctx: typer.Context,
    job: JobId,
    learning_rate: Annotated[
        str | None, typer.Option(help="A number, or a schedule as JSON; it counts from now.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How many epochs there are to be in all.")] = None,
    patience: Annotated[int | None, typer.Option(help="Of early stopping, in a job that has it.")] = None,
) -> None:
    """Change a training while it runs, and print the change as JSON."""
    from trainyard.typed import parse_rate

    rate = None if learning_rate is None else parse_rate(learning_rate)
    with client(ctx) as service:
        show(service.change(job, learning_rate=rate, epochs=epochs, patience=patience))


@app.command()
def verify(ctx: typer.Context, job: JobId) -> None:
    """Train a job again, its changes included; ends with exit code 1 when the weights are not the same."""
    with client(ctx) as service:
        again = service.verify(job)["id"]
        service.wait(again)
        result = service.result(again)
        typer.echo("\n".join(result["summary"]))
        raise typer.Exit(0 if result["same"] else 1)


@app.command()
def diagnosis(
    ctx: typer.Context,
    job: JobId,
    number: Annotated[int, typer.Argument(min=1, help="Which of the findings --apply is to try.")] = 1,
    apply: Annotated[bool, typer.Option("--apply", help="Change the job as advised, or submit one that is.")] = False,
    as_job: Annotated[bool, typer.Option("--as-job", help="With --apply: submit a job in any case.")] = False,
) -> None:
    """Say what keeps a job from learning and what to try, or try it with --apply."""
    from trainyard.findings import applied_text, diagnosis_text

    if as_job and not apply:
        raise typer.BadParameter("--as-job goes with --apply.")
    with client(ctx) as service:
        if apply:
            typer.echo(applied_text(service.apply(job, number, as_job)))
        else:
            typer.echo(diagnosis_text(job, service.diagnosis(job)))


@app.command()
def predict(
    ctx: typer.Context,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Image files.")],
    model: Annotated[str | None, typer.Option(help="name, name:version or name@alias; else the default model.")] = None,
    job: Annotated[str | None, typer.Option(help="The model of this job.")] = None,
    seen: Annotated[bool, typer.Option("--seen", help="Print the whole answer, with what the model saw.")] = False,
) -> None:
    """Ask a model what is on some pictures."""
    from trainyard.errors import ApiError

    with client(ctx) as service:
        for picture in pictures:
            try:
                answer = service.predict(picture, model=model, job=job, seen=seen)
            except ApiError as error:
                if error.status in (413, 415, 422):
                    typer.echo(f"{picture} cannot be read as a picture:", err=True)
                raise
            if seen:
                show(answer)
                continue
            for prediction in answer["predictions"]:
                told = prediction.get("class_name", prediction.get("value"))
                sure = f"  {prediction['probability']:.1%}" if "probability" in prediction else ""
                typer.echo(f"{picture}: {told}{sure}")


@app.command()
def validate(ctx: typer.Context, spec: SpecFile) -> None:
    """Check a spec and print it in full, with layers, shapes and parameter counts; trains nothing."""
    with client(ctx) as service:
        show(service.validate(read_spec(spec)))


@app.command()
def models(ctx: typer.Context) -> None:
    """Print the models as JSON."""
    with client(ctx) as service:
        show(service.models())


@app.command()
def alias(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The name of a model.")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="What to call one of its versions; champion pins it.")],
    version: Annotated[int | None, typer.Argument(help="The version; without one the alias is only shown.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
) -> None:
    """Let an alias mean a version of a model, or show or remove it."""
    if remove and version is not None:
        raise ValueError(f"Give a version or --remove, not both. Received: {version} --remove")
    with client(ctx) as service:
        if remove:
            service.remove_alias(model, alias)
        else:
            show(service.alias(model, alias) if version is None else service.set_alias(model, alias, version))


@app.command()
def datasets(ctx: typer.Context) -> None:
    """Print the data sets, and which worker has them, as JSON."""
    with client(ctx) as service:
        show(service.datasets())


@app.command()
def workers(ctx: typer.Context) -> None:
    """Print the workers as JSON."""
    with client(ctx) as service:
        show(service.workers())


@app.command()
def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the findings as JSON.")] = False,
) -> None:
    """Say what is wrong with this installation and what to do; ends with exit code 1 when something is."""
    import os

    from trainyard import doctor as examination
    from trainyard.launcher import settings_with

    try:
        settings: Any = settings_with()
    except ValueError as error:
        settings = str(error)
    url, key = ctx.obj
    if not as_json:
        typer.echo("Looking; to import TensorFlow takes some seconds.", err=True)
    given = url or os.environ.get("TRAINYARD_URL"), key or os.environ.get("TRAINYARD_API_KEY")
    found = examination.examine(settings, *given)
    typer.echo(examination.as_json(found) if as_json else examination.as_text(found))
    raise typer.Exit(0 if examination.is_sound(found) else 1)


@app.command()
def settings() -> None:
    """Print every setting: its name, its value now, its default and what it means."""
    from trainyard.launcher import settings_table

    for name, value, default, meaning in settings_table():
        typer.echo(f"{name}={value}\n    {meaning} (default: {default or 'unset'})")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"trainyard {installed('trainyard')}")


def read_spec(path: str) -> dict[str, Any]:
    """The spec in a file, or on stdin for `-`."""
    from trainyard import typed

    return typed.parse_spec(sys.stdin.read(), "stdin") if path == "-" else typed.read_spec(path)

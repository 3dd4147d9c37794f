"""The `volano` command: thin, and without heavy imports until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import volano
from volano.errors import VolanoError, WheelError, shorten

if TYPE_CHECKING:
    from volano.store import Champion
    from volano.wheel import Turn, Wheel

__all__ = ["app", "main"]

app = typer.Typer(
    name="volano",
    help="From a table of data to a small model in production, and a better one from corrections.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
feedback_app = typer.Typer(help="Corrections in and out.", no_args_is_help=True)
bundle_app = typer.Typer(help="The bundle that serves.", no_args_is_help=True)
app.add_typer(feedback_app, name="feedback")
app.add_typer(bundle_app, name="bundle")

Folder = Annotated[Path, typer.Option("-C", metavar="DIR", help="The wheel's folder.")]
Number = Annotated[int, typer.Argument(metavar="TURN", help="Its number.")]
Output = Annotated[Path | None, typer.Option("-o", help="A CSV, TSV or JSONL file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
HERE = Path()
ON_THE_LINE = "give the command the right path"

SHOWN_NAMES = 10
"""Names of classes that are listed for a person; --json has them all."""

SHOWN_COLUMNS = 50
"""Columns that `init` lists for a person; --json has them all."""

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    folder: Annotated[
        Path | None, typer.Option("-C", metavar="DIR", help="The wheel's folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    if version:
        print(f"volano {volano.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
    given = {"folder": folder, "as_json": as_json or None}
    context.default_map = _defaults(
        context.command, {name: value for name, value in given.items() if value is not None}
    )


def _defaults(command: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What stands before a command is the default of what stands behind it: the last counts."""
    below = getattr(command, "commands", {})
    return {name: _defaults(item, given) for name, item in below.items()} if below else given


def _say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def _result(value: Any, as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(value, ensure_ascii=False, default=str), flush=True)
    else:
        show()


def _refuse_both(output: Path | None, as_json: bool, *, fix: str) -> None:
    if as_json and output is None:
        raise WheelError(30, "--json and the rows both want stdout", fix=fix)


def _wheel(folder: Path) -> Wheel:
    from volano.wheel import Wheel, progress_for

    return Wheel(folder, progress=progress_for())


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("-C", metavar="DIR", help="Where to.")] = Path(
        "volano-demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Turn a wheel twice on real reviews, with feedback between, in five minutes."""
    from volano.demo import run_demo
    from volano.wheel import progress_for

    found = run_demo(folder, progress=progress_for())
    _result(found.as_dict(), as_json, lambda: print(found.text()))


@app.command()
def init(
    data: Annotated[list[str], typer.Argument(help="Files, folders, globs, pypi: addresses.")],
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Rows to judge on, as they are.")] = None,
    name: Annotated[str | None, typer.Option(help="The wheel's name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a spec.")] = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Look at the data and write a commented volano.yaml."""
    from volano.wheel import init_wheel

    made = init_wheel(folder, data, target=target, test=test or (), name=name, force=force)

    def show() -> None:
        for line in made.reasons[:SHOWN_COLUMNS]:
            print(f"  {line}")
        if len(made.reasons) > SHOWN_COLUMNS:
            print(f"  ... and {len(made.reasons) - SHOWN_COLUMNS} more columns")
        for line in made.notes:
            print(f"  {line}")
        print(f"wrote {made.path}\nnext: volano check, then volano turn")

    _result({"spec": str(made.path), "columns": made.reasons, "notes": made.notes}, as_json, show)


@app.command()
def check(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Say what is wrong with the data; train nothing."""
    from volano.wheel import check_lines

    with _wheel(folder) as wheel:
        found = wheel.check()
    _result(found, as_json, lambda: print("\n".join(check_lines(found))))


@app.command()
def turn(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """data, prepare, train, evaluate, compress, deploy; then the gate's verdict and a report."""
    with _wheel(folder) as wheel:
        made, serving = wheel.turn(), _serving(wheel)
    _result(made.record, as_json, lambda: _show_turn(made, *serving))


def _show_turn(made: Turn, champion: int | None, picked: Mapping[str, Any] | None) -> None:
    from volano.wheel import turn_lines

    print("\n".join(turn_lines(made, champion=champion, picked=picked)))


def _serving(wheel: Wheel) -> tuple[int | None, dict[str, Any] | None]:
    """The turn that serves, and which of its candidates where a person picked one."""
    from volano.wheel import picked_facts

    champion = wheel.store.champion()
    return (champion.turn, picked_facts(wheel.store, champion)) if champion else (None, None)


@app.command()
def predict(
    table: Annotated[str, typer.Argument(help="Rows to answer.")],
    output: Output = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle instead of the champion.")] = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Answer the rows of a table."""
    from volano.data import resolve
    from volano.wheel import answer_table, check_output, progress_for

    _refuse_both(output, as_json, fix="volano predict TABLE -o FILE --json")
    files = resolve([table], root=Path.cwd(), fix=ON_THE_LINE)
    check_output(output, files)
    progress = progress_for()
    if bundle is not None:
        model = volano.load(bundle)
        found = answer_table(files, output, model=model, predict=model.predict, step=progress.step)
    else:
        with _wheel(folder) as wheel:
            model = wheel.model()
            found = answer_table(
                files,
                output,
                model=model,
                predict=lambda rows: wheel.predict(rows, model=model),
                step=progress.step,
            )
    progress.close()

    def show() -> None:
        for note in found.notes:
            _say(f"  note: {note}")
        if found.broken:
            _say(f"  {found.broken} broken rows have no answer")
        if found.unread:
            _say(f"  {found.unread} rows have no answer: what they name cannot be read")
        if found.noted:
            _say(f"  {found.noted} rows lost something or are unlike the training rows")
        for row in found.first:
            _say(f"    {row}")
        if found.more:
            _say(f"    and {found.more} more")
        _say(f"{found.answered} of {found.rows} rows answered" + (f": {output}" if output else ""))

    _result({**asdict(found), "output": str(output), "bundle": model.id}, as_json, show)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes any free one.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle, without a wheel.")] = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Serve the champion over HTTP, and take feedback."""
    changes = {
        name: value for name, value in {"host": host, "port": port}.items() if value is not None
    }

    def announce(line: str) -> None:
        if as_json:
            print(json.dumps({"ready": line}), flush=True)
        else:
            print(line, flush=True)

    if bundle is not None:
        from volano.serving import open_model, run
        from volano.spec import ServeSpec, changed_serve

        model = open_model(bundle)
        run(
            model,
            serve=changed_serve(ServeSpec(), **changes),
            name=str(model.manifest["name"]),
            announce=announce,
        )
        return
    from volano.wheel import Wheel

    with Wheel(folder) as wheel:
        wheel.serve(announce=announce, **changes)


@feedback_app.command("import")
def feedback_import(
    table: Annotated[str, typer.Argument(help="prediction_id (or the inputs) and right values.")],
    who: Annotated[str, typer.Option(help="Who says so, where the table does not.")] = "import",
    new_class: Annotated[
        bool, typer.Option("--new-class", help="Unknown names are classes to learn.")
    ] = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Take corrections from a table."""
    from volano.data import resolve
    from volano.wheel import import_feedback
    from volano.wheel.stages.data import plain_of

    with _wheel(folder) as wheel:
        files = resolve([table], root=Path.cwd(), fix=ON_THE_LINE)
        champion = wheel.store.champion()
        known = tuple(getattr(wheel.model().target, "names", ())) if champion else ()
        found = import_feedback(
            wheel.log,
            files,
            inputs=list(wheel.spec.inputs),
            target=wheel.spec.target_name,
            kind=wheel.spec.target_column.type,
            kinds=wheel.spec.kinds,
            options=wheel.spec.target_column.options,
            plain=plain_of(wheel.spec),
            known=known,
            who=who,
            new_class=new_class,
        )

    def show() -> None:
        print("\n".join(found.lines(SHOWN_NAMES)))
        if found.new_names and known:
            names = ", ".join(shorten(name) for name in found.new_names[:SHOWN_NAMES])
            print(f"  new classes from the next turn on: {names}")
        print("next: volano turn")

    _result(asdict(found), as_json, show)


@feedback_app.command("export")
def feedback_export(
    output: Output = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the corrections that hold."""
    from volano.wheel import export_feedback

    _refuse_both(output, as_json, fix="volano feedback export -o FILE --json")
    with _wheel(folder) as wheel:
        rows = export_feedback(
            wheel.log, output, inputs=list(wheel.spec.inputs), target=wheel.spec.target_name
        )
    _result({"rows": rows, "output": str(output)}, as_json, lambda: _say(f"{rows} corrections"))


@feedback_app.command("remove")
def feedback_remove(
    ids: Annotated[list[str], typer.Argument(metavar="PREDICTION_ID...", help="What it is of.")],
    who: Annotated[str, typer.Option(help="Who says so.")] = "remove",
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Take the corrections of predictions back."""
    with _wheel(folder) as wheel:
        found = wheel.remove_feedback(ids, who=who)

    def show() -> None:
        without = f"; {len(found.without)} had none" if found.without else ""
        print(f"corrections of {len(found.removed)} predictions removed{without}")

    _result({"removed": found.removed, "without": found.without}, as_json, show)


@app.command()
def queue(
    limit: Annotated[int, typer.Option(min=0, help="Rows at the most.")] = 20,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """List the predictions that are most worth a person's label."""
    with _wheel(folder) as wheel:
        items = wheel.log.queue(limit)
    rows = [asdict(item) for item in items]

    def show() -> None:
        for item in items:
            # Of several cells each by its column's name; a single one needs none.
            texts = " | ".join(
                ("" if value is None else str(value))
                if len(item.inputs) == 1
                else f"{name}: {'' if value is None else value}"
                for name, value in item.inputs.items()
            )
            sure = "" if item.probability is None else f" ({item.probability:.0%})"
            print(f"  {item.id}  {item.value}{sure}  {texts[:80]!r}")
        print(f"{len(items)} predictions; next: volano feedback import CORRECTIONS.csv")

    _result({"queue": rows}, as_json, show)


@app.command()
def history(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List the turns and which of them served."""
    from volano.wheel import quality

    with _wheel(folder) as wheel:
        turns = wheel.history()
        champions = wheel.store.champions()
        serving, picked = _serving(wheel)
    # What a person picked answers otherwise than what its turn had chosen.
    picks = [picked if record["turn"] == serving else None for record in turns]
    rows = [
        {
            "turn": record["turn"],
            "at": record["at"],
            "verdict": record["verdict"],
            "metric": (name := record.get("headline") or "accuracy"),
            name: (pick or record)["metrics"].get(name),
            "champion": record["turn"] == serving,
            **({"picked": pick["name"]} if pick else {}),
        }
        for record, pick in zip(turns, picks, strict=True)
    ]
    qualities = [quality(record, pick) for record, pick in zip(turns, picks, strict=True)]

    def show() -> None:
        for row, reached in zip(rows, qualities, strict=True):
            mark = "  <- serves" if row["champion"] else ""
            if "picked" in row:
                mark += f" ({row['picked']}, picked by hand)"
            print(f"  turn {row['turn']}  {row['at']}  {row['verdict']:<12} {reached or '-'}{mark}")
        if not rows:
            print("no turn yet; next: volano turn")

    changes = [{"turn": item.turn, "why": item.why, "at": item.at} for item in champions]
    _result({"turns": rows, "champions": changes}, as_json, show)


@app.command()
def show(
    number: Number,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Show one turn."""
    with _wheel(folder) as wheel:
        made, serving = wheel.show(number), _serving(wheel)
    _result(made.record, as_json, lambda: _show_turn(made, *serving))


@app.command()
def promote(
    number: Number,
    candidate: Annotated[
        str | None, typer.Option(help="Another of its candidates; 'volano show' lists them.")
    ] = None,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Make a turn's bundle the champion, whatever the gate said."""
    with _wheel(folder) as wheel:
        champion = wheel.promote(number, candidate)
        _show_champion(champion, as_json, _golden_quality(wheel) if candidate else "")


@app.command()
def rollback(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Make the champion before the present one serve again."""
    with _wheel(folder) as wheel:
        _show_champion(wheel.rollback(), as_json)


def _golden_quality(wheel: Wheel) -> str:
    """What a candidate that a person has just picked reaches on golden rows."""
    from volano.wheel import quality

    turn, picked = _serving(wheel)
    if turn is None or picked is None:
        return ""
    reached = quality(wheel.show(turn).record, picked)
    return f"; golden rows: {reached}" if reached else ""


def _show_champion(champion: Champion, as_json: bool, reached: str = "") -> None:
    _result(
        {"champion": champion.turn, "why": champion.why},
        as_json,
        lambda: print(f"turn {champion.turn} serves now ({champion.why}){reached}"),
    )


@app.command()
def clean(
    keep: Annotated[int, typer.Option(help="Earlier champions that stay for rollback.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Remove what no turn needs any more; what serves, the last turn and all feedback stay."""
    with _wheel(folder) as wheel:
        found = wheel.clean(keep=keep, dry_run=dry_run)

    def show() -> None:
        for stage, count in found.stages.items():
            print(f"  {stage:<10} {count:>6,}")
        what = f"{found.artifacts} artifacts and {found.leftovers} left-over folders"
        size = f"{found.size_bytes / 1e6:,.1f} MB"
        print(f"{what}, {size}, would go" if dry_run else f"removed {what}, {size}")
        kept = ", ".join(map(str, found.kept_turns)) or "none"
        print(f"  turns with a bundle to promote or go back to: {kept}")

    _result(asdict(found), as_json, show)


@bundle_app.command("export")
def bundle_export(
    output: Annotated[Path, typer.Argument(help="A .volano file.")],
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Pack the champion into one file that runs anywhere."""
    with _wheel(folder) as wheel:
        size = wheel.export(output)
    _result(
        {"file": str(output), "size_bytes": size},
        as_json,
        lambda: print(
            f"{output}: {size / 1e6:.1f} MB\nanywhere: pip install volano && "
            f"volano serve --bundle {output.name}"
        ),
    )


@bundle_app.command("verify")
def bundle_verify(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A .volano file or a bundle's folder.")],
    as_json: AsJson = False,
) -> None:
    """Check every file of a bundle against its manifest."""
    if context.find_root().params["folder"] is not None:
        raise typer.BadParameter("this command is about a bundle, and no wheel", param_hint="'-C'")
    model = volano.load(bundle)
    found = {"bundle": model.id, "name": model.manifest["name"], "inputs": list(model.inputs)}
    _result(found, as_json, lambda: print(f"{bundle}: whole, id {model.id[:16]}"))


def main() -> NoReturn:
    """Run the command line; every expected error becomes a message and an exit status of 1.

    A wrong use of the command line itself has the status 2.
    """
    as_json = "--json" in sys.argv
    # Typer brings its own copy of click from some version on: its errors are known by what they do.
    command = typer.main.get_command(app)
    try:
        status = command.main(prog_name="volano", standalone_mode=False)
        sys.stdout.flush()
    except VolanoError as error:
        _fail(error, as_json)
    except BrokenPipeError:
        _leave_quietly()
    except SystemExit as stopped:
        # typer makes a status of 1 of a reader that has gone.
        if isinstance(stopped.__context__, BrokenPipeError):
            _leave_quietly()
        raise
    except (KeyboardInterrupt, typer.Abort):
        _say("\nstopped; the same command goes on from what was finished")
        sys.exit(INTERRUPTED)
    except OSError as error:
        _fail(_of_the_system(error), as_json)
    except Exception as error:
        if not (hasattr(error, "exit_code") and hasattr(error, "format_message")):
            raise
        _misused(error, as_json)
    if status == INTERRUPTED:
        _say("\nstopped; the same command goes on from what was finished")
    sys.exit(status if isinstance(status, int) else 0)


def _leave_quietly() -> NoReturn:
    # The reader has gone: what is still in the buffer must not fail when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(0)


def _misused(error: Any, as_json: bool) -> NoReturn:
    if as_json:
        what = error.format_message().strip().splitlines()
        print(json.dumps({"error": {"what": what[0] if what else "no command"}}), flush=True)
    error.show()
    sys.exit(error.exit_code)


def _of_the_system(error: OSError) -> WheelError:
    places = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return WheelError(
        99,
        f"the system refuses this ({error.strerror or error})",
        where=" -> ".join(shorten(name, 120) for name in places) or None,
        expected="files and folders that this user may read and write",
    )


def _fail(error: VolanoError, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": error.as_dict()}, ensure_ascii=True), flush=True)
    _say(str(error).encode("utf-8", "backslashreplace").decode())
    sys.exit(1)

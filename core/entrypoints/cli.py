"""The `boute` command."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.entrypoints import bench as bench_command
from core.errors import BOuteError
from core.settings import REPOSITORY, Settings, load_settings

Command = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors become one clear line and exit status 1."""
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every step
    try:
        status = command(parsed, load_settings())
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BOuteError as error:
        print(f"boute: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"       {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="boute", description="Joint query routing and GPU placement for fleets of LLMs."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "up", _up, "start dashboard, controller and gateway; stop them together")
    _add(commands, "controller", _controller, "start only the controller")
    _add(commands, "gateway", _gateway, "start only the OpenAI-compatible gateway")
    _add(commands, "dashboard", _dashboard, "start only the dashboard")
    _add(commands, "migrate", _migrate, "bring the database to the newest schema")
    demo = _add(commands, "demo", _demo, "measure the whole loop on the built-in fleet")
    demo.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    demo.add_argument("--queries", type=int, default=200, help="fresh queries per plan")
    demo.add_argument("--seed", type=int, default=7, help="seed of the fresh queries")
    profile = _add(commands, "profile", _profile, "measure a model under load; needs a controller")
    profile.add_argument("model", help="name of a registered model")
    profile.add_argument("--sku", help="device type; needed when the fleet has several")
    profile.add_argument("--queries", help="name of a query set; needed when there are several")
    profile.add_argument("--tp", type=int, default=1, help="devices per replica")
    profile.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    optimize = _add(commands, "optimize", _optimize, "search for plans; needs a controller")
    optimize.add_argument("--workload", help="name of a workload; the newest when left out")
    optimize.add_argument("--floor", type=float, default=0.0, help="least quality, 0..1")
    optimize.add_argument("--sla", type=float, help="wanted P95 end-to-end latency, seconds")
    optimize.add_argument("--budget", type=float, help="most allocation cost, $/h")
    optimize.add_argument("--live", type=int, default=0, help="plans to measure on real replicas")
    optimize.add_argument(
        "--method",
        choices=("grey-box", "paper"),
        default="grey-box",
        help="how plans to measure are chosen; the paper's constrained qNEHVI is for comparison",
    )
    optimize.add_argument("--seed", type=int, default=0)
    optimize.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    plan = _add(commands, "plan", _plan, "search for plans for a scenario file; no database")
    _add_scenario(plan)
    plan.add_argument(
        "--mode",
        choices=("savings", "performance", "throughput"),
        help="one best plan beside the baselines: least cost at --sla and --floor, least P95 or "
        "most throughput at --budget and --floor; left out: the whole front",
    )
    simulate = _add(commands, "simulate", _simulate, "simulate a plan of a scenario file")
    _add_scenario(simulate)
    simulate.add_argument("--plan", help="file with a plan, or id of one that `plan` finds")
    simulate.add_argument("--requests", type=int, default=5000, help="per seed")
    simulate.add_argument("--seeds", type=int, default=5, help="independent runs")
    scenario = _add(commands, "scenario", _scenario_schema, "print or write scenario files")
    forms = scenario.add_subparsers(required=True, metavar="WHAT")
    _add(forms, "schema", _scenario_schema, "print the format as a JSON schema")
    export = _add(forms, "export", _scenario_export, "write the scenario of a stored workload")
    export.add_argument("--workload", required=True, help="its name")
    export.add_argument("--output", type=Path, help="file to make; printed when left out")
    _add_limits(export)
    elsewhere = _add(commands, "export", _export_kubernetes, "write a plan for another system")
    systems = elsewhere.add_subparsers(required=True, metavar="SYSTEM")
    _add_kubernetes(_add(systems, "kubernetes", _export_kubernetes, "write Kubernetes manifests"))
    brought = _add(commands, "import", _import_outcomes, "take in what others measured")
    kinds = brought.add_subparsers(required=True, metavar="WHAT")
    _add_outcomes(_add(kinds, "outcomes", _import_outcomes, "take in scored answers"))
    bench_command.add_to(_add(commands, "bench", _bench, "measure BOute itself"))
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", type=Path, metavar="SCENARIO.yaml", help="docs/scenarios.md")
    parser.add_argument("--seed", type=int, default=0, help="seed of the search for plans")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    _add_limits(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--floor", type=float, help="least quality, 0..1")
    parser.add_argument("--sla", type=float, help="wanted P95 end-to-end latency, seconds")
    parser.add_argument("--budget", type=float, help="most allocation cost, $/h")


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="id of a plan, or `active`")
    parser.add_argument("--gateway-image", required=True, help="image with BOute in it")
    parser.add_argument("--vllm-image", help="image with vLLM in it")
    parser.add_argument("--namespace", help="of every object")
    parser.add_argument("--gpu-resource", help="what the cluster calls a GPU")
    parser.add_argument("--sku-label", help="label of nodes that holds the GPU's name")
    parser.add_argument("--models-claim", help="volume claim with folders of models")
    parser.add_argument("--output", type=Path, help="file to make; printed when left out")


def _add_outcomes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="CSV, JSON lines, Parquet, or samples of lm-evaluation-harness",
    )
    parser.add_argument("--model", default="", help="which model answered, if a file does not say")
    parser.add_argument("--class", default="", dest="query_class", help="of queries without one")
    parser.add_argument("--metric", default="", help="which metric, or what the score is called")
    parser.add_argument("--filter", default="", help="which of the harness's filters")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _limits(parsed: argparse.Namespace) -> dict[str, float | None]:
    return {
        "quality_floor": parsed.floor,
        "sla_p95_e2e_s": parsed.sla,
        "budget_usd_per_hour": parsed.budget,
    }


def _up(_: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.up import up

    return up(settings)


def _controller(_: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.controller import run

    return run(settings)


def _gateway(_: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.gateway import run

    return run(settings)


def _dashboard(_: argparse.Namespace, settings: Settings) -> int:
    app = str(REPOSITORY / "ui" / "app.py")
    command = [sys.executable, "-m", "streamlit", "run", app]
    command += ["--server.address", settings.host]
    command += ["--server.port", str(settings.dashboard_port), "--server.headless", "true"]
    os.execv(sys.executable, command)


def _migrate(_: argparse.Namespace, settings: Settings) -> int:
    from db.migrate import upgrade

    upgrade(settings.database_url)
    print("The database has the newest schema.")
    return 0


def _demo(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.demo import demo

    return demo(settings, as_json=parsed.json, queries=parsed.queries, seed=parsed.seed)


def _profile(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.profile import profile

    return profile(
        settings, parsed.model, parsed.sku, parsed.queries, parsed.tp, as_json=parsed.json
    )


def _optimize(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.domain.study import Limits, Method
    from core.entrypoints.optimize import optimize

    method = Method.PAPER if parsed.method == "paper" else Method.GREY_BOX
    limits = Limits(
        quality_floor=parsed.floor,
        budget_usd_per_hour=parsed.budget,
        sla_p95_e2e_s=parsed.sla,
    )
    return optimize(
        settings,
        parsed.workload,
        limits,
        parsed.live,
        parsed.seed,
        as_json=parsed.json,
        method=method,
    )


def _plan(parsed: argparse.Namespace, _: Settings) -> int:
    if parsed.mode:
        from core.entrypoints.plan_modes import plan_for

        return plan_for(
            parsed.scenario, _limits(parsed), parsed.mode, parsed.seed, as_json=parsed.json
        )
    from core.entrypoints.plan import plan

    return plan(parsed.scenario, _limits(parsed), parsed.seed, as_json=parsed.json)


def _simulate(parsed: argparse.Namespace, _: Settings) -> int:
    from core.entrypoints.simulate import simulate

    return simulate(
        parsed.scenario,
        parsed.plan,
        _limits(parsed),
        requests=parsed.requests,
        seeds=parsed.seeds,
        search_seed=parsed.seed,
        as_json=parsed.json,
    )


def _scenario_schema(_: argparse.Namespace, __: Settings) -> int:
    from core.entrypoints.scenario import print_schema

    return print_schema()


def _scenario_export(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.domain.study import Limits
    from core.entrypoints.scenario import export

    given = {name: value for name, value in _limits(parsed).items() if value is not None}
    return export(settings, parsed.workload, Limits(**given), parsed.output)


def _export_kubernetes(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.export import export_kubernetes
    from core.serving.kubernetes import ClusterOptions

    names = ("vllm_image", "namespace", "gpu_resource", "sku_label", "models_claim")
    given = {name: getattr(parsed, name) for name in names if getattr(parsed, name)}
    options = ClusterOptions(gateway_image=parsed.gateway_image, **given)
    return export_kubernetes(settings, parsed.plan, options, parsed.output)


def _import_outcomes(parsed: argparse.Namespace, settings: Settings) -> int:
    from core.entrypoints.import_outcomes import import_files
    from core.importing.outcomes import Given

    given = Given(parsed.model, parsed.query_class, parsed.metric, parsed.filter)
    return import_files(settings, parsed.files, given, as_json=parsed.json)


def _bench(parsed: argparse.Namespace, settings: Settings) -> int:
    return bench_command.run(parsed, settings)


if __name__ == "__main__":
    sys.exit(main())

"""Plug your own measurement into BOute's search: `python examples/own_evaluator.py`.

Here a simulator stands for the measurement, on a fleet whose L40S take 1.3 times as long as their
profiles say and whose H100 take 0.9 times as long. The study is not told; it finds out. Put your
own function in place of `measure`: load-test a staging cluster, ask your own simulator, whatever
gives a P95 for a plan.
"""

import math
from pathlib import Path

from core.domain.ids import utc_now
from core.domain.plan import PlanScore, ServingPlan
from core.domain.planning import PlanningFacts
from core.errors import EngineFailed
from core.estimate.simulated import SimulatedEvaluator
from core.estimate.telemetry import slowed_facts
from core.optimize import Effort, Study
from core.scenario.facts import problem_of
from core.scenario.reading import files_beside, load_scenario

SCENARIO = Path(__file__).with_name("two-gpus.yaml")
EVALUATIONS = 8
HIDDEN = {"L40S": 1.3, "H100-SXM-80GB": 0.9}


def main() -> None:
    """Measure eight plans and print the front."""
    facts = problem_of(load_scenario(SCENARIO), files_beside(SCENARIO), utc_now()).facts
    replicas = really_running(facts)

    def measure(plan: ServingPlan) -> PlanScore:
        """Return what was seen: here only the P95 counts, cost and quality are known functions."""
        score = replicas.evaluate(plan)
        print(f"  measured {plan.plan_id}: P95 {seconds(score)}")
        return score

    study = Study(facts, seed=1, effort=Effort(evaluations=4000))
    result = study.run(measure, EVALUATIONS)

    # The same as ask and tell, with a plan that cannot be measured:
    (proposal,) = study.ask()
    try:
        raise EngineFailed("The cluster was busy.")
    except EngineFailed as error:
        study.fail(proposal, error.message)

    print(result.message)
    for trial in study.front():
        shown = "measured" if trial.measured else "predicted"
        print(
            f"  ${trial.score.cost_usd_per_hour:6.2f}/h  P95 {seconds(trial.score):>7}  "
            f"quality {trial.score.quality_mean:.3f}  {shown}"
        )
    for slow in study.slowdowns():
        print(f"  {slow.kind.label} takes {math.exp(slow.log_factor):.2f} x its profile's time")


def really_running(facts: PlanningFacts) -> SimulatedEvaluator:
    """Return the stand-in for a cluster: the simulator, at speeds that nobody was told."""
    slower = {kind: math.log(HIDDEN[kind.sku]) for kind in facts.profiles}
    return SimulatedEvaluator(slowed_facts(facts, slower), requests=1500, seeds=(1,))


def seconds(score: PlanScore) -> str:
    """Return a P95 for people."""
    return "-" if score.p95_e2e_s is None else f"{score.p95_e2e_s:.1f} s"


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How long a training run stands still when a node dies, and whether a job is ever lost on the way.

Ours: a plan with a spare, stintd and its fast requeue. Peer: the same job on the same Slurm without any of that,
submitted with --requeue; Slurm finds out by itself, with SlurmdTimeout=10 (its default is 300)."""

import random
import time
from pathlib import Path

from . import Bench, BenchError, Case, Options, median
from .labs import SOURCE, Job, Lab, run_events, wait_for

RECIPE = f"tiny-llama,data.path={SOURCE}/build/data/book.txt,run.steps=100000,checkpoint.interval=10"
# The peer's agents keep still, so that it is Slurm which acts, and Slurm alone.
QUIET = ",resilience.heartbeat_timeout=1h,resilience.collective_timeout=1h,resilience.max_restarts=1000"
RECOVERY_TARGET = 10.0   # seconds from SIGKILL on
PEER_PATIENCE = 400.0
START_SECONDS = 90.0
LIGHT_SECONDS = 60.0     # for a light job to run again; far above what it takes, so that "lost" means lost


SLURM = ("--nodes", "6", "--stock", "--slurm", "SlurmdTimeout=10")  # of both


def ours_lab() -> Lab:
    return Lab(*SLURM)


def peer_lab() -> Lab:
    return Lab(*SLURM, "--plain")


def submit_ours(lab: Lab) -> Job:
    return lab.submit("--training-plan=bench", f"--recipe={RECIPE}", "--wrap=stint-train")


def submit_peer(lab: Lab) -> Job:
    recipe = lab.run("stint", "recipe", "show", "--frozen", RECIPE + QUIET)
    return lab.submit("--requeue", "--open-mode=append", "--nodes=4", "--exclusive", "--wrap=stint-train",
                      SLURM_STINT_RECIPE=recipe)


def seconds_to_recover(lab: Lab, job: Job, patience: float, dice: random.Random) -> float:
    """Kills a node of the running job; seconds from then to its first step after a restart."""
    log = lab.work / "stint-runs" / f"tiny-llama-{job.number}" / "log.jsonl"
    wait_for(lambda: _has_steps_after_checkpoint(log), START_SECONDS, f"job {job.number} to train")
    victim = dice.choice(job.nodes())
    killed = lab.kill(victim)
    wait_for(lambda: _first_step_after_restart(log, killed) is not None, patience, f"job {job.number} to train again")
    recovered = _first_step_after_restart(log, killed) - killed
    job.cancel()
    lab.revive(victim)
    return recovered


def _has_steps_after_checkpoint(log: Path) -> bool:
    events = run_events(log)
    saved = max((event["step"] for event in events if event["event"] == "checkpoint"), default=None)
    return saved is not None and any(event["event"] == "step" and event["step"] > saved for event in events)


def _first_step_after_restart(log: Path, killed: float) -> float | None:
    restarted = False
    for event in run_events(log):
        if event["t"] < killed:
            continue
        restarted = restarted or event["event"] == "start"
        if restarted and event["event"] == "step":
            return event["t"]
    return None


def compare_recovery(options: Options, dice: random.Random) -> Case:
    ours, peer = [], []
    rounds_ours, rounds_peer = (1, 1) if options.quick else (5, 3)
    with ours_lab() as our_lab, peer_lab() as their_lab:
        _book(our_lab)
        for round_number in range(rounds_ours):
            ours.append(seconds_to_recover(our_lab, submit_ours(our_lab), 60, dice))
            print(f"  ours: training again {ours[-1]:.1f} s after the kill", flush=True)
            if round_number < rounds_peer:
                peer.append(seconds_to_recover(their_lab, submit_peer(their_lab), PEER_PATIENCE, dice))
                print(f"  peer: training again {peer[-1]:.1f} s after the kill", flush=True)
    return Case("SIGKILL of a node to the first step after it", median(ours), median(peer), "s",
                f"below {RECOVERY_TARGET:.0f}", median(ours) < RECOVERY_TARGET)


def count_lost_jobs(options: Options, dice: random.Random) -> list[Case]:
    wanted = 5 if options.quick else 30
    lost, times = 0, []
    with ours_lab() as lab:
        _book(lab)
        for number in range(1, wanted + 1):
            seconds = _requeue_light_job(lab, dice)
            lost += seconds is None
            times += [] if seconds is None else [seconds]
            print(f"  requeue {number} of {wanted}: " + ("LOST" if seconds is None else f"{seconds:.1f} s"), flush=True)
    cases = [Case(f"jobs lost in {wanted} fast requeues", lost, None, "jobs", "0", lost == 0)]
    if times:
        cases.append(Case("SIGKILL of a node to its job running again", median(times), None, "s",
                          f"below {RECOVERY_TARGET:.0f}", median(times) < RECOVERY_TARGET))
    return cases


def _requeue_light_job(lab: Lab, dice: random.Random) -> float | None:
    """Seconds from the kill until the job runs again on other nodes; None when it never does."""
    # With a step on every node, as training has: Slurm waits 10 s more for nodes that hold nothing of the job.
    job = lab.submit("--training-plan=bench", "--nodes=4", "--wrap=srun --ntasks-per-node=1 sleep 600")
    wait_for(lambda: job.fields().get("JobState") == "RUNNING", START_SECONDS, f"job {job.number} to start")
    time.sleep(dice.uniform(0, 3))
    victim = dice.choice(job.nodes())
    killed = lab.kill(victim)
    try:
        wait_for(lambda: _runs_again_without(job, victim), LIGHT_SECONDS, f"job {job.number} to run again")
        seconds = time.time() - killed
    except BenchError:
        print("  " + " ".join(f"{name}={value}" for name, value in job.fields().items()), flush=True)
        seconds = None
    job.cancel()
    lab.revive(victim)
    return seconds


def _runs_again_without(job: Job, victim: str) -> bool:
    fields = job.fields()
    return fields.get("JobState") == "RUNNING" and fields.get("Restarts") == "1" and victim not in job.nodes()


def _book(lab: Lab) -> None:
    lab.run("stint", "plan", "create", "--name", "bench", "--nodes", "4", "--spares", "1", "--duration", "2h")


def measure(options: Options) -> list[Case]:
    dice = random.Random(options.seed)
    return [compare_recovery(options, dice), *count_lost_jobs(options, dice)]


BENCH = Bench(summary="a node is killed: seconds until training goes on, and jobs lost on the way",
              targets=["programs"],
              measure=measure)

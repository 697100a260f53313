# SPDX-License-Identifier: Apache-2.0
"""read_events.py STINT-TRAIN: trains a few steps and compares what TensorBoard reads with log.jsonl."""
import json
import pathlib
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = ["loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu", "communication_share",
        "data_share", "peak_memory_bytes"]


def train(program, run, data):
    keys = {"data.path": data, "run.steps": 6, "run.log_interval": 1, "checkpoint.interval": 2, "resources.nodes": 1,
            "data.global_batch_size": 2, "data.micro_batch_size": 2, "optim.warmup_steps": 1}
    recipe = ",".join(["tiny-llama", *(f"{key}={value}" for key, value in keys.items())])
    subprocess.run([program, "--local", "1", "--recipe", recipe, "--run-directory", run], check=True, timeout=100)


def logged(run):
    """Step -> its step event."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {event["step"]: event for event in events if event["event"] == "step"}


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "book.txt")
        data.write_text("It was the best of times, it was the worst of times. " * 200)
        run = pathlib.Path(folder, "run")
        train(program, run, data)
        accumulator = EventAccumulator(str(run))
        accumulator.Reload()
        assert sorted(accumulator.Tags()["scalars"]) == sorted(TAGS), accumulator.Tags()
        steps = logged(run)
        assert len(steps) == 6, steps
        for tag in TAGS:
            read = {event.step: event.value for event in accumulator.Scalars(tag)}
            assert read.keys() == steps.keys(), (tag, read)
            for step, value in read.items():
                assert abs(value - steps[step][tag]) <= 1e-6 * abs(value), (tag, step, value, steps[step][tag])


main(sys.argv[1])

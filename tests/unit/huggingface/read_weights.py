# SPDX-License-Identifier: Apache-2.0
"""read_weights.py STINT-TRAIN: trains the same few steps in several shardings on two workers; the folders of final
weights must be what Hugging Face's loaders expect and hold the same numbers."""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from safetensors import safe_open

STEPS = 3


def train(program, run, data, sharding):
    keys = {"data.path": data, "run.steps": STEPS, "resources.nodes": 2, "resources.threads_per_worker": 1,
            "data.global_batch_size": 2, "data.micro_batch_size": 1, "data.sequence_length": 32,
            "optim.warmup_steps": 1, "parallel.sharding": sharding, "run.tensorboard": "no"}
    recipe = ",".join(["tiny-llama", *(f"{key}={value}" for key, value in keys.items())])
    subprocess.run([program, "--local", "2", "--recipe", recipe, "--run-directory", run], check=True, timeout=100)


def tensors_of(path):
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def read_folder(folder):
    """All tensors, found as from_pretrained finds them: by the index."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tensors = {}
    for name in set(index["weight_map"].values()):
        part = tensors_of(folder / name)
        assert all(index["weight_map"][tensor] == name for tensor in part), f"{name} holds what the index has elsewhere"
        tensors |= part
    assert tensors.keys() == index["weight_map"].keys(), tensors.keys() ^ index["weight_map"].keys()
    assert sum(tensor.nbytes for tensor in tensors.values()) == index["metadata"]["total_size"]
    return tensors


def expected_shapes(config):
    hidden, inside, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = size * config["num_attention_heads"], size * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in {
            "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inside, hidden), "mlp.up_proj": (inside, hidden), "mlp.down_proj": (hidden, inside),
            "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}.items()}
    return shapes


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "book.txt")
        data.write_text("It was the best of times, it was the worst of times. " * 200)
        weights = None
        for sharding in ("none", "zero1", "zero3"):
            run = pathlib.Path(folder, sharding)
            train(program, run, data, sharding)
            assert len(list((run / "model").glob("model-0000?-of-00002.safetensors"))) == 2, sharding
            tensors = read_folder(run / "model")
            config = json.loads((run / "model" / "config.json").read_text())
            assert config["architectures"] == ["LlamaForCausalLM"], config
            assert {name: tensor.shape for name, tensor in tensors.items()} == expected_shapes(config), sharding
            if weights is None:  # of the checkpoint that the first run wrote as a whole
                weights = tensors_of(run / "checkpoints" / f"step-{STEPS:08}" / "model.safetensors")
            assert weights.keys() == tensors.keys()
            for name, tensor in tensors.items():
                assert tensor.dtype == numpy.float32 and numpy.array_equal(tensor, weights[name]), (sharding, name)


if __name__ == "__main__":
    main(sys.argv[1])

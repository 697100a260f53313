#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""step_ddp_peer.py FOLDER RANK SIZE SETTINGS: the run of step_ddp as one would write it in PyTorch: DistributedDataParallel
over gloo, bf16 by autocast with fp32 gradients, what is fused where this PyTorch has it; or, with the setting sharding =
zero3, fully_shard with a group a layer, bf16 by its mixed precision. Starts from step_ddp's parameters and tokens in FOLDER.

On stdin `steps N`; answers {"seconds":[…],"losses":[…]}, losses of this rank's sequences. `torch_save N` and `dcp_async N`:
N times one step, a checkpoint and, beside the second, steps until it is safe; answers {"alone":[…],"blocked":[…],
"steps":[[…]…],"bytes":B}."""

import json
import math
import os
import resource
import shutil
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.shared, width = s["heads"], s["key_value_heads"], s["hidden_size"]
        self.size = width // self.heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, self.shared * self.size, bias=False)
        self.v_proj = nn.Linear(width, self.shared * self.size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, rotary, mask):
        batch, length, width = x.shape

        def split(y, heads):
            return y.view(batch, length, heads, self.size).transpose(1, 2)

        q, k = rotate(split(self.q_proj(x), self.heads), rotary), rotate(split(self.k_proj(x), self.shared), rotary)
        v = split(self.v_proj(x), self.shared)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.shared != self.heads)
        else:
            group = self.heads // self.shared
            if group > 1:
                k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            y = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(self.size) + mask, -1).to(v.dtype) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, width))


def rotate(x, rotary):
    low, high = x.chunk(2, -1)
    cosine, sine = rotary
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine), -1)


class FeedForward(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(s["hidden_size"], s["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(s["intermediate_size"], s["hidden_size"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.self_attn, self.mlp = Attention(s), FeedForward(s)
        self.input_layernorm = Norm(s["hidden_size"], s["rms_norm_eps"])
        self.post_attention_layernorm = Norm(s["hidden_size"], s["rms_norm_eps"])

    def forward(self, x, rotary, mask):
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    """Hugging Face's names, so that the layout's fit."""

    def __init__(self, s):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(s["vocab_size"], s["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(s) for _ in range(s["num_hidden_layers"]))
        self.model.norm = Norm(s["hidden_size"], s["rms_norm_eps"])
        self.lm_head = nn.Linear(s["hidden_size"], s["vocab_size"], bias=False)
        if s["tied"]:
            self.lm_head.weight = self.model.embed_tokens.weight
        half = s["hidden_size"] // s["heads"] // 2
        frequency = s["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.outer(torch.arange(s["length"], dtype=torch.float64), frequency)
        self.rotary = angle.cos().float(), angle.sin().float()
        self.mask = torch.full((s["length"], s["length"]), -math.inf).triu(1)

    def forward(self, tokens, target):
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, self.rotary, self.mask)
        logits = self.lm_head(self.model.norm(x))
        return F.cross_entropy(logits.float().flatten(0, 1), target.flatten())


def read(path, kind):
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=kind)


class Run:
    def __init__(self, folder, rank, size, s):
        self.s, self.rank, self.size, self.step = s, rank, size, 0
        dist.init_process_group("gloo", init_method=f"file://{folder}/gloo", rank=rank, world_size=size)
        model = Model(s)
        decays = self._load(folder, model)
        self.sharded = s["sharding"] == "zero3"
        if self.sharded:
            self._shard(model)
        decayed, kept = ([p for name, p in model.named_parameters() if decays[name] == wanted] for wanted in (True, False))
        groups = [{"params": decayed, "weight_decay": s["weight_decay"]}, {"params": kept, "weight_decay": 0.0}]
        best = {"fused": True} if hasattr(F, "rms_norm") else {"foreach": True}
        self.folder = folder
        self.optimizer = torch.optim.AdamW(groups, lr=s["learning_rate"], betas=tuple(s["betas"]), eps=s["eps"], **best)
        self.model = model if self.sharded else nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        self.tokens = read(folder / "tokens.i64", torch.int64).view(-1, s["slots"], s["length"] + 1)

    @staticmethod
    def _load(folder, model):
        flat, named = read(folder / "parameters.f32", torch.float32), dict(model.named_parameters())
        decays = {}
        for entry in json.loads((folder / "layout.json").read_text()):
            parameter = named.pop(entry["name"])
            with torch.no_grad():
                parameter.copy_(flat[entry["offset"]:entry["offset"] + parameter.numel()].view(entry["shape"]))
            decays[entry["name"]] = entry["decays"]
        if named:
            raise SystemExit(f"step_ddp_peer: not in the layout: {sorted(named)}")
        return decays

    def _shard(self, model):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        kinds = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if self.s["bf16"] else {}
        settings = {"mesh": init_device_mesh("cpu", (self.size,)), "mp_policy": MixedPrecisionPolicy(**kinds)}
        for layer in model.model.layers:
            fully_shard(layer, **settings)
        fully_shard(model, **settings)

    def rate(self):
        s, warmup = self.s, self.s["warmup_steps"]
        if self.step < warmup:
            return s["learning_rate"] * (self.step + 1) / warmup
        progress = min(1.0, (self.step - warmup) / (s["steps"] - warmup))
        low = s["min_learning_rate"]
        return low + (s["learning_rate"] - low) * 0.5 * (1 + math.cos(math.pi * progress))

    def train(self):
        share = self.s["slots"] // self.size
        tokens = self.tokens[self.step % len(self.tokens), self.rank * share:(self.rank + 1) * share]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.s["bf16"] and not self.sharded):
            loss = self.model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        self.clip()
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def clip(self):
        """PyTorch's sum of squares in fp32 is off by some 1e-5, which the losses show: for them it is taken in double."""
        parameters = list(self.model.parameters())
        if not self.s["exact_norm"]:
            nn.utils.clip_grad_norm_(parameters, self.s["grad_clip"])
            return
        squares = [p.grad.double().square().sum() for p in parameters]
        norm = math.sqrt(sum((s.full_tensor() if self.sharded else s).item() for s in squares))
        for parameter in parameters:
            parameter.grad.mul_(min(1.0, self.s["grad_clip"] / norm))

    def steps(self, count):
        seconds, losses = [], []
        for _ in range(count):
            begin = time.perf_counter()
            losses.append(self.train())
            seconds.append(time.perf_counter() - begin)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return {"seconds": seconds, "losses": losses, "peak_mib": peak}

    def state(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def torch_save(self, count):
        found = {"alone": [], "blocked": [], "steps": []}
        for _ in range(count):
            found["alone"] += self.steps(1)["seconds"]
            begin = time.perf_counter()
            torch.save(self.state(), self.folder / "saved.pt")
            found["blocked"].append(time.perf_counter() - begin)
        return found | {"bytes": os.path.getsize(self.folder / "saved.pt")}

    def dcp_async(self, count):
        import torch.distributed.checkpoint as dcp
        found = {"alone": [], "blocked": [], "steps": []}
        target = self.folder / "dcp"
        for _ in range(count):
            found["alone"] += self.steps(1)["seconds"]
            shutil.rmtree(target, ignore_errors=True)
            begin = time.perf_counter()
            future = dcp.async_save(self.state(), checkpoint_id=target)
            found["blocked"].append(time.perf_counter() - begin)
            beside = []
            while not future.done():
                beside += self.steps(1)["seconds"]
            future.result()
            found["steps"].append(beside)
        return found | {"bytes": sum(file.stat().st_size for file in target.iterdir())}


def main():
    folder, rank, size, settings = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    run = Run(folder, rank, size, settings)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        command, count = line.split()
        obey = {"steps": run.steps, "torch_save": run.torch_save, "dcp_async": run.dcp_async}[command]
        print(json.dumps(obey(int(count))), flush=True)


if __name__ == "__main__":
    main()

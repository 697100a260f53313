#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""start_peer.py TEXT SETTINGS, under torchrun: one step of step_ddp_peer's model on the bytes of TEXT, from random weights.
Rank 0 prints {"time": Unix seconds after that step, "loss":…, "parameters":…}."""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from step_ddp_peer import Model


def main():
    text, s = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, share = dist.get_rank(), s["slots"] // dist.get_world_size()
    torch.manual_seed(1)
    model = Model(s)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=s["learning_rate"], betas=tuple(s["betas"]), eps=s["eps"])
    columns = s["length"] + 1
    with text.open("rb") as file:
        file.seek(rank * share * columns)
        tokens = torch.tensor(list(file.read(share * columns))).view(share, columns)
    loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), s["grad_clip"])
    optimizer.step()
    done = time.time()
    dist.all_reduce(loss := loss.detach() / dist.get_world_size())
    if rank == 0:
        print(json.dumps({"time": done, "loss": loss.item(), "parameters": sum(p.numel() for p in model.parameters())}),
              flush=True)
    os._exit(0)  # what its libraries do at their end is no part of the start


if __name__ == "__main__":
    main()

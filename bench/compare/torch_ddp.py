"""Runs one rank of the same training with PyTorch's DistributedDataParallel on gloo, with one thread."""

import argparse
import os
import time

import torch
import torch.distributed
from mnist import Batches, training_part
from torch import nn

BATCH_SIZE = 100
REGULARIZATION_RATE = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--world", type=int, required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    args = parser.parse_args()

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=args.port, GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=args.rank, world_size=args.world)
    images, labels = (torch.from_numpy(part) for part in training_part(args.data_dir))
    batches = Batches(len(images), BATCH_SIZE, args.rank)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))
    replica = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.01)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99 ** (BATCH_SIZE / 60000))
    weights = [model[0].weight, model[2].weight]
    for step in range(args.steps):
        if step == args.warm_up:
            began = time.monotonic()
        chosen = torch.from_numpy(batches.next())
        entropy = nn.functional.cross_entropy(replica(images[chosen]), labels[chosen])
        squares = sum((w * w).sum() for w in weights)
        loss = entropy + 0.5 * REGULARIZATION_RATE * squares
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    rate = (args.steps - args.warm_up) / (time.monotonic() - began)
    print(f"RATE {rate} LOSS {loss.item()}", flush=True)


main()

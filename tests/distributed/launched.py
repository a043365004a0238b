"""A program for torchrun: it says who it is, and then does what its argument asks for."""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist

what, folder = sys.argv[1], sys.argv[2]
dist.init_process_group()
rank, size = dist.get_rank(), dist.get_world_size()
open(os.path.join(folder, f"pid{rank}"), "w").write(str(os.getpid()))
x = torch.ones(1) * (rank + 1)
dist.all_reduce(x)
print(f"rank {rank} of {size} sum {x.item()} local {os.environ['LOCAL_RANK']} attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}",
      flush=True)
if what == "raise" and rank == 1:
    raise ValueError("this rank has had enough")
if what == "kill" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if what == "exit" and rank == 0:
    sys.exit(7)
if what == "once" and rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    sys.exit(3)
if what in ("raise", "kill", "exit", "wait"):
    time.sleep(100)
dist.destroy_process_group()

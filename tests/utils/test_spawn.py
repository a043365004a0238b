"""Tensors of one storage as arguments of a spawned process."""

import subprocess
import sys

PROGRAM = """
import rushlight as torch
import rushlight.multiprocessing as mp

def work(a, b):
    a.add_(1)
    b.mul_(3)

if __name__ == "__main__":
    mp.set_start_method("spawn", force=True)
    base = torch.ones(6)
    p = mp.Process(target=work, args=(base[:3], base[3:]))
    p.start()
    p.join()
    assert p.exitcode == 0 and base.tolist() == [2, 2, 2, 3, 3, 3], base
    print("ok")
"""


def test_two_views_of_one_storage(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "ok\n", done.stderr

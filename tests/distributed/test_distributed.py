"""torch.distributed: collectives of 2 to 4 processes against NumPy, faults, stores, bad input. `programs.py` holds what the processes
do."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
import torch as T

import rushlight as rl
import rushlight.distributed as dist
from tests.distributed import programs
from tests.support.processes import ROOT, finish, free_port, run, start

# Where mpi4py is installed, everything runs on MPI as well.
ENGINES = ["sockets"] + (["mpi"] if importlib.util.find_spec("mpi4py") else [])


@pytest.fixture(params=ENGINES)
def engine(request):
    return {"RUSHLIGHT_DISTRIBUTED": request.param}


def test_reductions(engine):
    assert run(programs.reductions, 3, env=engine) == [run_count()] * 3


def run_count():
    """How many (dtype, op, shape) `programs.reductions` goes through."""
    ops = {True: 4, False: 7}
    return sum(5 * ops[d.is_floating_point] if not d.is_complex else 4 for d in programs.DTYPES)


def test_movements(engine):
    run(programs.movements, 4 if engine["RUSHLIGHT_DISTRIBUTED"] == "sockets" else 2, env=engine)


def test_random_programs(engine):
    run(programs.random_programs, 2, "0", "300", env=engine)


# --- faults -------------------------------------------------------------------------------------------------------------------------------

def test_a_missing_rank_is_named(engine):
    name, text, waited = run(programs.missing_rank, 2, env=engine)[0]
    assert name == "DistBackendError" and "all_reduce #1 (SUM float32 [3])" in text and "rank 1 is in no call of this group" in text
    assert waited < 15


CALLS = [(programs.other_calls, ("all_reduce #1", "broadcast #1")), (programs.other_shapes, ("[3]", "[4]"))]


@pytest.mark.parametrize("program, texts", CALLS)
def test_different_calls(engine, program, texts):
    found = [each for each in run(program, 2, env=engine) if each is not None]       # who only sends is done before it can know
    assert found
    for name, text, waited in found:
        assert name == "DistBackendError" and waited < 15
        assert all(each in text for each in texts) or "has gone" in text      # the other may have ended first


def test_a_rank_that_ends():
    ended = finish(*start(programs.dies, 3, env={"RUSHLIGHT_DISTRIBUTED": "sockets"}))
    for rank in (0, 2):
        name, text, waited = ended[rank].value
        assert name == "DistBackendError" and "rank 1 has gone" in text or "rank 0 has gone" in text or "rank 2 has gone" in text
        assert waited < 15


def test_monitored_barrier_names_who_is_missing():
    name, text, waited = run(programs.late_for_barrier, 2, env={"RUSHLIGHT_DISTRIBUTED": "sockets"})[0]
    assert "Rank(s) 1 failed to pass monitoredBarrier in 1000 ms" in text and waited < 10


# --- a world of one, and bad input --------------------------------------------------------------------------------------------------------

@pytest.fixture
def alone():
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def test_a_world_of_one(alone):
    x = rl.arange(3.)
    dist.all_reduce(x)
    dist.all_reduce(x, dist.ReduceOp.AVG)
    out = [rl.zeros(3)]
    dist.all_gather(out, x)
    y = rl.zeros(3)
    dist.reduce_scatter_tensor(y, x)
    assert x.tolist() == out[0].tolist() == y.tolist() == [0, 1, 2] and dist.get_backend() == "gloo" and dist.get_rank() == 0
    found = [None]
    dist.all_gather_object(found, "a")
    dist.barrier()
    dist.monitored_barrier()
    assert found == ["a"] and dist.group.WORLD is dist.distributed_c10d._get_default_group()
    z = x.clone()
    assert dist.broadcast(z, 0, async_op=True).wait() is True


WRONG = [
    "dist.all_reduce([1])", "dist.all_reduce(x, op='sum')", "dist.all_reduce(x, op=dist.ReduceOp.BAND)",
    "dist.all_reduce(x.to(torch.complex64), op=dist.ReduceOp.MAX)", "dist.broadcast(x, 5)", "dist.reduce(x, 5)", "dist.all_gather([x, x], "
                                                                                          "x)",
    "dist.all_gather([torch.empty(3)], x)", "dist.all_gather([x.double()], x)", "dist.all_gather_into_tensor(torch.empty(4, 3), x)",
    "dist.reduce_scatter_tensor(torch.empty(1), x)", "dist.reduce_scatter(x.clone(), [x, x])", "dist.send(x, 0)",
    "dist.init_process_group('gloo', rank=0, world_size=1)", "dist.new_group([0, 1])", "dist.new_group([-1])",
    "dist.P2POp(dist.all_reduce, x, 0)",
    "dist.gather(x, None)", "dist.scatter(x, None)",
]


def test_wrong_input_raises_what_pytorch_raises(alone):
    T.distributed.init_process_group("gloo", rank=0, world_size=1, store=T.distributed.HashStore())
    try:
        for line in WRONG:
            kinds = []
            for torch in (rl, T):
                with pytest.raises(Exception) as caught:
                    eval(line, {"dist": torch.distributed, "torch": torch, "x": torch.ones(2, 3)})
                kinds.append(type(caught.value))
            assert kinds[0].__name__ == kinds[1].__name__ or issubclass(kinds[0], kinds[1]), (line, kinds)
    finally:
        T.distributed.destroy_process_group()


def test_before_there_is_a_group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "PMI_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for act in (dist.get_rank, dist.get_world_size, dist.barrier, lambda: dist.all_reduce(rl.ones(2)), lambda: dist.new_group([0])):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            act()
    with pytest.raises(ValueError, match="RANK expected, but not set"):
        dist.init_process_group("gloo")
    with pytest.raises(AssertionError, match="Unknown backend type foo"):
        dist.init_process_group("foo", rank=0, world_size=1)
    with pytest.raises(RuntimeError, match="No rendezvous handler for zzz://"):
        dist.init_process_group("gloo", "zzz://x", rank=0, world_size=1)
    with pytest.raises(TypeError, match="timedelta"):
        dist.init_process_group("gloo", timeout=3, rank=0, world_size=1)
    with pytest.raises(ValueError, match="rank is 3"):
        dist.init_process_group("gloo", "tcp://127.0.0.1:29999", rank=3, world_size=2)
    assert not dist.is_initialized() and dist.is_available() and dist.is_gloo_available() and not dist.is_nccl_available()


def test_importing_loads_no_mpi():
    program = ("import sys, rushlight.distributed as d; d.is_mpi_available(); "
               "print([m for m in ('mpi4py', 'cupy', 'rushlight.nn', 'subprocess', 'socket', 'socketserver') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ,
                                                                                                "PYTHONPATH": str(ROOT / "src")})
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# --- stores -------------------------------------------------------------------------------------------------------------------------------

def store_of(kind, module, tmp_path):
    D = module.distributed
    if kind == "file":
        return D.FileStore(str(tmp_path / module.__name__), 1)
    return D.HashStore() if kind == "hash" else D.TCPStore("127.0.0.1", 0, 1, True)


@pytest.mark.parametrize("kind", ["hash", "tcp", "file"])
def test_stores(kind, tmp_path):
    answers = []
    for module in (rl, T):
        store = store_of(kind, module, tmp_path)
        found = [store.set("a", "1"), store.get("a"), store.add("a", 2), store.get("a"), store.add("n", 5), store.check(["a", "n"]),
                 store.check(["a", "zz"]), store.set("b", b"\x00\xff"), store.get("b"), store.wait(["a", "b"], timedelta(seconds=1))]
        prefix = module.distributed.PrefixStore("p", store)
        found += [prefix.set("a", "z"), prefix.get("a"), store.get("p/a"), store.get("a"), prefix.add("k", 1)]
        if kind != "file":
            found += [store.delete_key("a"), store.delete_key("a"), store.check(["a"]), store.compare_set("c", "", "x"),
                      store.compare_set("c", "q", "y"),
                      store.compare_set("c", "x", "y"), store.append("c", "z"), store.get("c"), store.multi_get(["b", "c"])]
        with pytest.raises(RuntimeError):
            store.wait(["never"], timedelta(seconds=0.1))
        store.set_timeout(timedelta(seconds=0.1))
        with pytest.raises(RuntimeError):
            store.get("never")
        answers.append(found)
    assert answers[0] == answers[1]


def test_a_store_waits_for_others_and_one_thread_holds_up_no_other():
    master = dist.TCPStore("127.0.0.1", 0, is_master=True)
    other = dist.TCPStore("127.0.0.1", master.port)
    got = []
    waiting = threading.Thread(target=lambda: got.append(other.get("late")))
    waiting.start()
    other.set("now", "x")
    assert other.get("now") == b"x" and not got
    master.set("late", "y")
    waiting.join(10)
    assert got == [b"y"]
    master.queue_push("q", "1")
    assert other.queue_len("q") == 1 and other.queue_pop("q") == b"1"
    with pytest.raises(dist.QueueEmptyError):
        other.queue_pop("q", block=False)


def test_ports():
    taken = dist.TCPStore("127.0.0.1", 0, is_master=True)
    with pytest.raises(dist.DistNetworkError, match="EADDRINUSE"):
        dist.TCPStore("127.0.0.1", taken.port, is_master=True)
    began = time.monotonic()
    with pytest.raises(dist.DistNetworkError, match="MASTER_ADDR"):
        dist.TCPStore("127.0.0.1", free_port(), timeout=timedelta(seconds=0.5))
    assert time.monotonic() - began < 10


# --- MPICH's meeting place ----------------------------------------------------------------------------------------------------------------

def place(token):
    """pmi.py, begun as rank 0 begins it, and two connections of ranks to it."""
    program = str(ROOT / "src/rushlight/distributed/pmi.py")
    server = subprocess.Popen([sys.executable, "-S", "-E", program, "2", "127.0.0.1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    server.stdin.write(token + "\n")
    server.stdin.flush()
    port = int(server.stdout.readline())
    ranks = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2)]
    for rank in ranks:
        rank.sendall(token.encode() + b"\n")
    return server, ranks


def asked(rank, text):
    rank.sendall(text + b"\n")
    return rank.recv(1000).decode().strip()


def test_the_meeting_place_outlives_rank_0_and_tells_worlds_apart():
    """MPICH says goodbye behind Python's end, and names shared memory after the world."""
    names = []
    for token in ("a", "b"):
        server, ranks = place(token)
        names.append(asked(ranks[1], b"cmd=get_my_kvsname"))
        assert asked(ranks[0], b"cmd=get_my_kvsname") == names[-1]
        server.stdin.close()                                    # Python has ended in rank 0
        time.sleep(0.1)
        for rank in ranks:
            assert asked(rank, b"cmd=finalize") == "cmd=finalize_ack rc=0"
            assert server.poll() is None
            rank.close()
        assert server.wait(20) == 0
        server.stdout.close()
    assert names[0] != names[1]


@pytest.mark.skipif("mpi" not in ENGINES, reason="needs mpi4py")
def test_two_worlds_on_mpi_at_once():
    begun = [start(programs.summed, 2, env={"RUSHLIGHT_DISTRIBUTED": "mpi"}) for _ in range(2)]
    for each in begun:
        assert [(ended.code, ended.value) for ended in finish(*each)] == [(0, 3.0)] * 2

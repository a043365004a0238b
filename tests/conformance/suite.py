"""What there is to run, and running it in several processes."""

import fnmatch
import multiprocessing
from dataclasses import dataclass, field

from .errors import run_errors
from .modules import MODULES, run_module, run_module_errors
from .ops import DTYPES, OPS, namespace, run_op
from .optimizers import OPTIMIZERS, run_optimizer, run_optimizer_errors

QUICK = 4      # samples per op and dtype where not all are run

# kind of a task -> (database, its entries are run by)
KINDS = {
    "op": (OPS, run_op), "op error": (OPS, lambda op, limit: run_errors(op)),
    "module": (MODULES, run_module), "module error": (MODULES, lambda info, limit: run_module_errors(info)),
    "optimizer": (OPTIMIZERS, run_optimizer), "optimizer error": (OPTIMIZERS, lambda info, limit: run_optimizer_errors(info)),
}


@dataclass
class Result:
    """How many cases of one entry agree, and the others: (where, text)."""

    passed: int = 0
    total: int = 0
    failures: list = field(default_factory=list)


def tasks(ops=None, namespace=None, modules=None, optimizers=None, errors=False):
    """The (kind, name) pairs that are asked for; all ops where nothing is."""
    chosen = []
    if ops or namespace or not (modules or optimizers):
        for name in OPS:
            if (not ops or any(fnmatch.fnmatchcase(name, pattern) for pattern in ops)) and namespace in (None, _namespace(name)):
                chosen.append(("op", name))
    chosen += [("module", name) for name in MODULES if modules and fnmatch.fnmatchcase(name, modules)]
    chosen += [("optimizer", name) for name in OPTIMIZERS if optimizers and fnmatch.fnmatchcase(name, optimizers)]
    return [(f"{kind} error", name) for kind, name in chosen] if errors else chosen


_namespace = namespace


def everything():
    """All tasks of the full report."""
    base = tasks() + tasks(modules="*") + tasks(optimizers="*")
    return base + [(f"{kind} error", name) for kind, name in base]


def run_one(task, limit=None, dtypes=None):
    """The `Result` of one task."""
    kind, name = task
    entries, runner = KINDS[kind]
    result = Result()
    more = {"only_dtypes": dtypes} if dtypes and kind == "op" else {}
    for group, index, verdict in runner(entries[name], limit, **more):
        result.total += 1
        if verdict is None:
            result.passed += 1
        else:
            result.failures.append((f"{group} {index} {verdict[0]}", verdict[1]))
    return result


def _work(job):
    task, limit, dtypes = job
    try:
        return task, run_one(task, limit, dtypes)
    except Exception as error:  # noqa: BLE001      PyTorch's own database refuses to make its samples
        return task, Result(0, 1, [("samples 0 database", f"{type(error).__name__}: {error}")])


def run(chosen, limit=None, processes=2, dtypes=None):
    """{task: Result} for all tasks."""
    jobs = [(task, limit, tuple(dtypes) if dtypes else DTYPES) for task in chosen]
    if processes <= 1 or len(jobs) == 1:
        return dict(map(_work, jobs))
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        return dict(pool.imap_unordered(_work, jobs, chunksize=1))

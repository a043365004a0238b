"""The conformance suite's command line.

    python -m tests.conformance                                    # all ops, a sample of their cases
    python -m tests.conformance --ops 'linalg.*' --full --show-failures
    python -m tests.conformance --namespace fft --errors
    python -m tests.conformance --modules --optimizers --names
    python -m tests.conformance --full --write                     # everything; renews docs/compatibility.md and the line that the test holds
"""

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from . import names, suite  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ops", metavar="PATTERN", action="append", help="ops whose name matches (fnmatch; may be given again)")
    parser.add_argument("--namespace", metavar="NAME", help="ops of one namespace: fft, linalg, nn.functional, ...")
    parser.add_argument("--modules", nargs="?", const="*", metavar="PATTERN", help="module_db")
    parser.add_argument("--optimizers", nargs="?", const="*", metavar="PATTERN", help="optim_db")
    parser.add_argument("--errors", action="store_true", help="the error inputs of the chosen ops, modules, optimizers instead of their samples")
    parser.add_argument("--names", action="store_true", help="names that are missing, per namespace")
    parser.add_argument("--dtype", action="append", help="only this dtype (float32, float64, int64, bool, complex64, bfloat16)")
    parser.add_argument("--full", action="store_true", help=f"all samples instead of {suite.QUICK} per dtype")
    parser.add_argument("--show-failures", "-f", action="store_true", help="every failing case, not only the first of each op")
    parser.add_argument("--causes", action="store_true", help="the commonest texts of failures")
    parser.add_argument("--all", action="store_true", help="list ops that pass as well")
    parser.add_argument("--write", action="store_true", help="renew docs/compatibility.md and tests/conformance/line.json (takes all parts)")
    parser.add_argument("--limit", type=int, help="with --write: at most so many samples per op and dtype (4, 7, 10, ... hold those that the test runs)")
    parser.add_argument("-j", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.write:
        from .report import write
        write(options.j, options.limit)
        return
    if options.names:
        _names(options.namespace)
    if options.modules or options.optimizers or not options.names:
        _cases(options)


def _names(only):
    for namespace in names.NAMESPACES:
        if only and not namespace.endswith(only):
            continue
        lacking, count = names.missing(namespace)
        print(f"{namespace:34} {count - len(lacking):4}/{count:<4} {100 * (count - len(lacking)) / max(count, 1):6.1f}%  {' '.join(lacking)}")


def _cases(options):
    tasks = suite.tasks(ops=options.ops, namespace=options.namespace, modules=options.modules, optimizers=options.optimizers, errors=options.errors)
    results = suite.run(tasks, None if options.full else suite.QUICK, options.j, options.dtype)
    passed = total = 0
    causes = {}
    for task in sorted(results):
        result = results[task]
        passed, total = passed + result.passed, total + result.total
        for where, text in result.failures:
            causes.setdefault(text[:90], []).append(f"{task[1]} {where}")
        if result.failures or options.all:
            print(f"{task[1]:50} {result.passed:5}/{result.total:<5}" + ("" if options.show_failures or not result.failures else
                                                                        f" {result.failures[0][0]}: {result.failures[0][1]}"))
            if options.show_failures:
                for where, text in result.failures:
                    print(f"    {where}: {text}")
    if options.causes:
        for text, cases in sorted(causes.items(), key=lambda item: -len(item[1]))[:60]:
            print(f"{len(cases):6} {text}   ({cases[0]}; {len({case.split()[0] for case in cases})} ops)")
    print(f"{passed}/{total} cases agree ({100 * passed / max(total, 1):.2f}%), {sum(not r.failures for r in results.values())}/{len(results)} entries without a failure")


if __name__ == "__main__":
    main()

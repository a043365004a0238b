"""Calls on both sides: seeded alike, silent, and stopped when they take too long."""

import contextlib
import random
import signal
import warnings

import numpy as np
import torch as pt

import rushlight as rl

SECONDS = 20


class TooSlow(Exception):
    """A call took more than `SECONDS`."""


def _alarm(signum, frame):
    raise TooSlow(f"more than {SECONDS} seconds")


@contextlib.contextmanager
def limited(seconds=SECONDS):
    """Stop what runs inside after a while."""
    before = signal.signal(signal.SIGPROF, _alarm)          # processor time: a busy machine is no reason
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def quiet():
    """Without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def seed(value=7):
    """Every generator that either side or the databases use."""
    pt.manual_seed(value)
    rl.manual_seed(value)
    random.seed(value)
    np.random.seed(value)


def seeded(f, *args, **kwargs):
    """A call after seeding."""
    seed()
    return f(*args, **kwargs)


def attempt(f, *args, **kwargs):
    """(result, None) or (None, exception)."""
    try:
        return seeded(f, *args, **kwargs), None
    except TooSlow:
        raise
    except Exception as error:  # noqa: BLE001
        return None, error


def describe(error):
    """An exception in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]:.300}"

"""Models are loaded once, again when another version is active, and never where their weights do not verify."""

import threading
import time

import pytest

from meddenoise.errors import ModelError, OptionError
from meddenoise.server.models import ModelPool


class Loader:
    """Stands for Denoiser.load: slow, and refusing some names until told otherwise."""

    def __init__(self, refused=()):
        self.refused, self.calls = set(refused), []

    def __call__(self, name, device):
        self.calls.append((name, device))
        time.sleep(0.05)
        if name in self.refused:
            raise ModelError(f"weights {name} are damaged")
        return object()


def pool_of(loader, active=None):
    """A pool whose models' active versions are read from a dict."""
    return ModelPool(loader, lambda name: (active or {}).get(name, "first"))


def test_first_requests_at_once_load_a_model_once():
    loader = Loader()
    pool = pool_of(loader)
    found = []
    threads = [threading.Thread(target=lambda: found.append(pool.get("student", "cpu"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.calls == [("student", "cpu")]
    assert len(set(map(id, found))) == 1


def test_each_model_is_loaded_for_itself():
    pool = pool_of(Loader())
    assert pool.get("student", "cpu") is not pool.get("teacher", "cpu")


def test_another_active_version_is_loaded_once_and_leaves_other_models_alone():
    loader, active = Loader(), {}
    pool = pool_of(loader, active)
    old, teacher = pool.get("student", "cpu"), pool.get("teacher", "cpu")
    active["student"] = "second"
    new = pool.get("student", "cpu")
    assert new is not old
    assert pool.get("student", "cpu") is new
    assert pool.get("teacher", "cpu") is teacher
    assert loader.calls == [("student", "cpu"), ("teacher", "cpu"), ("student", "cpu")]


def test_a_version_activated_while_another_is_loaded_is_not_missed():
    active = {}

    def load(name, _):
        loaded = active.get(name, "first")
        active[name] = "second"  # somebody activates it now
        return loaded

    pool = pool_of(load, active)
    assert pool.get("student", "cpu") == "first"
    assert pool.get("student", "cpu") == "second"


def test_unknown_device_is_refused_before_anything_is_loaded():
    loader = Loader()
    with pytest.raises(OptionError, match="device must be"):
        pool_of(loader).get("student", "tpu")
    assert loader.calls == []


def test_problem_names_the_reason_and_goes_away_with_it(caplog):
    loader = Loader(refused=["student"])
    pool = pool_of(loader)
    assert pool.problem("student") == "weights student are damaged"
    assert pool.problem("student") == "weights student are damaged"
    assert len(caplog.records) == 1  # said once, not at every request for /info
    loader.refused.clear()
    assert pool.problem("student") is None

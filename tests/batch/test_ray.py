"""The engine ray: on a cluster of two nodes, of which one is killed midway, the results are those of one process."""

import os
import sys

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.batch import BatchOptions, Item, PlainEngine, find_items, run_batch
from meddenoise.batch.journal import JOURNAL
from meddenoise.batch.ray_engine import ATTEMPTS, RayEngine, _Crew
from meddenoise.batch.run import SUMMARY
from meddenoise.errors import OptionError

COUNT = 12


def test_without_ray_the_way_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install 'meddenoise\[ray\]'"):
        RayEngine("student")


def test_single_device_is_refused_where_the_cluster_chooses():
    with pytest.raises(OptionError, match="must be auto, cpu or cuda, got cuda:1"):
        RayEngine("student", device="cuda:1")


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core each on this machine; the second can be taken away."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (python -m pip install 'meddenoise[ray]')")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.second = cluster.add_node(**node)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def volumes(tmp_path):
    """Volumes that take long enough to be in work when a node goes."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "volumes"
    folder.mkdir()
    for number in range(COUNT):
        noisy = rng.normal(100, 20, (16, 256, 256)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(noisy), str(folder / f"{number:02d}.nrrd"))
    return folder


def results(tree, folder):
    return {name: content for name, (content, _) in tree(folder).items() if name not in (JOURNAL, SUMMARY)}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("default")
def test_results_are_the_same_when_a_node_is_killed_midway(cluster, volumes, tree, tmp_path, caplog, monkeypatch):
    options = BatchOptions(modality="MR")
    items, _, plain = find_items([volumes], tmp_path / "plain", model="student")
    run_batch(items, PlainEngine.load("student", devices=["cpu"]), plain, options=options)

    welcome, joined = _Crew._welcome, []

    def counted(crew, reference):
        welcome(crew, reference)
        joined.append(reference)

    def tell(outcome, progress):
        if len(joined) == 2:  # and both have been handed an item since
            cluster.remove_node(cluster.second, allow_graceful=False)
            joined.clear()

    monkeypatch.setattr(_Crew, "_welcome", counted)
    items, _, spread = find_items([volumes], tmp_path / "spread", model="student")
    summary = run_batch(items, RayEngine("student", device="cpu"), spread, options=options, tell=tell)
    assert summary.count("done") == len(summary.outcomes) == COUNT
    assert "an actor of the Ray cluster was lost" in caplog.text
    assert results(tree, spread) == results(tree, plain)
    again = run_batch(items, RayEngine("student", device="cpu"), spread, options=options)
    assert again.count("skipped") == COUNT


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("default")
def test_item_that_ends_every_process_fails_and_the_others_do_not(cluster, volumes, tmp_path):
    class Deadly:
        """Takes the process with it that reads it."""

        identity, size = "deadly", 1

        def fetch(self, folder):
            os._exit(1)

    items, _, folder = find_items([volumes], tmp_path / "out", model="student")
    deadly = Item("deadly", Deadly(), tmp_path / "out" / "deadly.nrrd")
    summary = run_batch([deadly, *items[:3]], RayEngine("student", device="cpu"), folder, options=BatchOptions())
    assert summary.count("done") == 3
    (failed,) = (outcome for outcome in summary.outcomes if outcome.state == "failed")
    assert failed.reason.startswith(f"deadly: {ATTEMPTS} processes ended over it")

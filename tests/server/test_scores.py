"""Scores and strategies: kept with what is known about an image, made once for it, and what the next sample goes by."""

import errno
import json
import shutil
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813
import torch

from meddenoise import metrics
from meddenoise.errors import OptionError, ServiceError
from meddenoise.noise_level import gaussian_blur
from meddenoise.server.datastore import PacsDatastore, studies_folder
from meddenoise.server.image_info import InfoFile
from meddenoise.server.measures import METHODS
from meddenoise.server.pacs import Series
from meddenoise.server.scores import IMAGE, Method, hash_of, score_images
from meddenoise.server.strategies import DAY, at_random, first, next_image, noisiest

NOISE, PSNR, SSIM = METHODS
SIGMAS = {"b_medium": 10.0, "c_quiet": 3.0, "d_loud": 30.0}
SHAPE = (3, 64, 64)


def phantom():
    """A disc of about 150 on 50, in grey levels; not of two values alone, which would be a label map."""
    y, x = np.indices(SHAPE[1:]) - 32
    return np.broadcast_to(50.0 + (100.0 + 0.3 * x) * (y**2 + x**2 < 24**2) + 0.1 * y, SHAPE)


def write(path, array, spacing=(1.0, 1.0, 3.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def noisy(sigma):
    return phantom() + np.random.default_rng(4).normal(0.0, sigma, SHAPE)


def fill(folder):
    """Three images of known noise, and one that is none."""
    for name, sigma in SIGMAS.items():
        write(folder / f"{name}.nrrd", noisy(sigma))
    (folder / "a_broken.nrrd").write_text("no image\n")


@pytest.fixture
def studies(tmp_path):
    fill(tmp_path / "studies")
    return tmp_path / "studies"


@pytest.fixture
def paired(tmp_path):
    """An image with a clean partner and two results, of which one has another size; and an image without."""
    folder = tmp_path / "paired"
    write(folder / "scan.nrrd", noisy(20.0))
    write(folder / "alone.nrrd", noisy(5.0))
    write(folder / "labels" / "final" / "scan.nrrd", phantom())
    write(folder / "labels" / "denoised_good" / "scan.nrrd", noisy(2.0))
    write(folder / "labels" / "denoised_small" / "scan.nrrd", phantom()[:2])
    return folder


def counting(name="count", version="1"):
    """A method that only counts how often it was asked."""
    seen = []

    def measure(files):
        seen.append(files[IMAGE].name)
        return {"value": float(len(seen))}

    return seen, Method(name, "", measure, lambda: version)


def test_noise_score_reads_the_level_and_says_what_it_is(studies):
    datastore = studies_folder(str(studies))
    score_images(NOISE, datastore)
    for name, sigma in SIGMAS.items():
        info = datastore.get_image_info(name)
        assert info["noise"] == info["noise_score"]["value"] == pytest.approx(sigma, rel=0.25)
        assert info["noise_score"]["unit"] == "grey levels"
        assert info["noise_score"]["slices"] == "3 of 3"
        assert info["noise_score"]["version"].startswith("noise 1, noise-meter ")
        assert info["noise_score"]["sha256"] == {IMAGE: hash_of(studies / f"{name}.nrrd")}
        assert info["noise_score"]["relative"] == pytest.approx(sigma / 120.0, rel=0.5)


def test_image_that_cannot_be_read_is_scored_as_failed_and_passed_over(studies, match):
    datastore = studies_folder(str(studies))
    summary = score_images(NOISE, datastore)
    assert list(summary["failed"]) == ["a_broken"]
    match("a_broken.nrrd: ", summary["failed"]["a_broken"])
    assert str(studies) not in summary["failed"]["a_broken"]  # who may read scores is not told where the files are
    info = datastore.get_image_info("a_broken")
    assert info["noise"] is None
    assert info["noise_score"]["failed"] == summary["failed"]["a_broken"]
    json.dumps(datastore.json(), allow_nan=False)  # as the web server does


def test_image_that_may_not_be_read_is_scored_as_failed_once(studies):
    def measure(files):
        raise PermissionError(errno.EACCES, "Permission denied")

    datastore = studies_folder(str(studies))
    method = Method("count", "", measure, lambda: "1")
    assert score_images(method, datastore, ["d_loud"])["failed"] == {"d_loud": "it cannot be read (Permission denied)"}
    assert score_images(method, datastore, ["d_loud"])["scored"] == 0


def test_image_that_was_repaired_is_scored(studies):
    datastore = studies_folder(str(studies))
    score_images(NOISE, datastore)
    write(studies / "a_broken.nrrd", noisy(10.0))
    assert score_images(NOISE, datastore)["scored"] == 1
    assert datastore.get_image_info("a_broken")["noise"] == pytest.approx(10.0, rel=0.25)
    assert "failed" not in datastore.get_image_info("a_broken")["noise_score"]


def test_no_score_is_made_twice_for_an_unchanged_image(studies):
    seen, method = counting()
    assert score_images(method, studies_folder(str(studies)))["scored"] == len(seen) == 4
    restarted = studies_folder(str(studies))
    assert score_images(method, restarted) | {"seconds": 0} == {
        "method": "count", "scored": 0, "unchanged": 4, "without_reference": 0, "failed": {}, "seconds": 0,
    }  # fmt: skip
    again = studies / "again"
    shutil.copyfile(studies / "c_quiet.nrrd", again)
    again.replace(studies / "c_quiet.nrrd")  # another file, with the same content
    assert score_images(method, restarted)["unchanged"] == 4
    assert len(seen) == 4


def test_score_is_made_anew_for_a_changed_image_and_for_a_new_version(studies):
    datastore = studies_folder(str(studies))
    seen, method = counting()
    score_images(method, datastore)
    write(studies / "c_quiet.nrrd", noisy(4.0))
    assert score_images(method, datastore)["scored"] == 1
    assert seen[4:] == ["c_quiet.nrrd"]
    newer, method = counting(version="2")
    assert score_images(method, datastore)["scored"] == len(newer) == 4


def test_scoring_can_be_limited_to_some_images(studies, match):
    datastore = studies_folder(str(studies))
    seen, method = counting()
    assert score_images(method, datastore, ["d_loud"])["scored"] == 1
    assert score_images(method, datastore, most=2)["scored"] == 2
    assert len(seen) == 3
    for wanted, most, sentence in ((["nobody"], 0, "'nobody'"), ("d_loud", 0, "a list"), (None, -1, "max_samples")):
        with pytest.raises(OptionError, match=sentence):
            score_images(method, datastore, wanted, most)


def test_psnr_and_ssim_are_those_of_the_metrics_and_say_what_they_are(paired):
    datastore = studies_folder(str(paired))
    psnr, ssim = (score_images(method, datastore) for method in (PSNR, SSIM))
    assert (psnr["scored"], psnr["without_reference"], ssim["scored"], ssim["without_reference"]) == (1, 1, 1, 1)
    info = datastore.get_image_info("scan")
    low, high = info["psnr_score"]["window"]
    assert (low, high) == pytest.approx(tuple(np.percentile(phantom(), (0.1, 99.9))), rel=1e-4)
    assert info["psnr_score"]["data_range"] == info["ssim_score"]["data_range"] == high - low
    words = "where the clean partner is above a tenth of the range up to the 99th percentile after smoothing"
    assert info["psnr_score"]["mask"] == words
    clean, seen = (np.clip(values.astype(np.float32), low, high) - low for values in (phantom(), noisy(20.0)))
    smooth = gaussian_blur(torch.from_numpy(phantom().astype(np.float32)).unsqueeze(1), 2.0).squeeze(1)
    dark, bright = np.percentile(smooth.numpy(), (0.1, 99.0))
    body = smooth.numpy() > dark + 0.1 * (bright - dark)
    direct = metrics.psnr(seen[body], clean[body], data_range=high - low)
    assert info["psnr"] == pytest.approx(direct, abs=0.01)
    assert info["ssim"] == pytest.approx(metrics.ssim(seen, clean, data_range=high - low, mask=body), abs=1e-3)
    assert info["psnr_score"]["results"]["denoised_good"] > info["psnr"] + 10
    assert "voxels" in info["psnr_score"]["results_failed"]["denoised_small"]
    assert "psnr" not in datastore.get_image_info("alone")


def test_result_that_came_later_is_scored_and_partner_elsewhere_is_refused(paired):
    datastore = studies_folder(str(paired))
    score_images(PSNR, datastore)
    write(paired / "labels" / "denoised_new" / "scan.nrrd", noisy(1.0))
    datastore.refresh()
    assert score_images(PSNR, datastore)["scored"] == 1
    assert set(datastore.get_image_info("scan")["psnr_score"]["results"]) == {"denoised_good", "denoised_new"}
    write(paired / "labels" / "final" / "scan.nrrd", phantom(), spacing=(1.0, 1.0, 4.0))
    assert "another spacing" in score_images(PSNR, datastore)["failed"]["scan"]


def test_image_that_equals_its_partner_has_no_number_that_json_cannot_hold(paired):
    write(paired / "scan.nrrd", phantom())
    datastore = studies_folder(str(paired))
    assert score_images(PSNR, datastore)["failed"] == {}
    assert datastore.get_image_info("scan")["psnr"] is None


def test_two_processes_keep_each_others_scores(studies):
    """Each has its own list in memory, as the server and MONAI Label's scoring process have."""
    ours, theirs = studies_folder(str(studies)), studies_folder(str(studies))

    def note(datastore, key):
        for number in range(15):
            datastore.update_image_info("d_loud", {f"{key}{number}": number})

    threads = [threading.Thread(target=note, args=pair) for pair in ((ours, "a"), (theirs, "b"), (ours, "c"))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        json.loads((studies / "datastore_v2.json").read_text())  # whole at any time: a killed writer leaves no half
    for datastore in (ours, theirs, studies_folder(str(studies))):
        info = datastore.get_image_info("d_loud")
        assert [info[f"{key}{number}"] for key in "abc" for number in range(15)] == [*range(15)] * 3


def test_label_saved_meanwhile_is_kept(studies):
    server, scoring = studies_folder(str(studies)), studies_folder(str(studies))
    server.save_label("d_loud", str(studies / "c_quiet.nrrd"), "final", {"by": "somebody"})
    scoring.update_image_info("d_loud", {"noise": 1.0})
    server.save_label("b_medium", str(studies / "c_quiet.nrrd"), "final", {})
    listed = studies_folder(str(studies))
    assert listed.get_label_info("d_loud", "final")["by"] == "somebody"
    assert listed.get_image_info("d_loud")["noise"] == 1.0
    assert sorted(listed.get_labeled_images()) == ["b_medium", "d_loud"]


# --- strategies -------------------------------------------------------------------------------------------------------


def test_first_is_the_first_by_name_that_has_no_final_label(studies):
    datastore = studies_folder(str(studies))
    assert next_image(first, "first", datastore) == {"id": "a_broken"}
    score_images(NOISE, datastore)
    assert next_image(first, "first", datastore) == {"id": "b_medium"}  # now it is known that nobody can see the other
    datastore.save_label("b_medium", str(studies / "c_quiet.nrrd"), "final", {})
    assert next_image(first, "first", datastore) == {"id": "c_quiet"}


def test_random_gives_every_image_its_turn_even_within_one_second(studies):
    datastore = studies_folder(str(studies))
    now = int(time.time())
    seen = {next_image(at_random, "random", datastore)["id"] for _ in range(100)}
    assert seen == {*SIGMAS, "a_broken"}
    for image in seen:
        datastore.update_image_info(image, {"strategy": {"random": {"ts": now}}})
    assert next_image(at_random, "random", datastore, now=now)["id"] in seen


def test_noisiest_goes_down_the_list_and_begins_again_after_a_day(studies):
    datastore = studies_folder(str(studies))
    score_images(NOISE, datastore)
    now, order = int(time.time()), []
    for number in range(4):
        order.append(next_image(noisiest, "noisiest", datastore, now=now + number)["id"])
        datastore.update_image_info(order[-1], {"strategy": {"noisiest": {"ts": now + number}}})
    assert order == ["d_loud", "b_medium", "c_quiet", "d_loud"]
    assert next_image(noisiest, "noisiest", datastore, now=now + 2 * DAY)["id"] == "d_loud"


def test_noisiest_compares_images_of_different_units_by_their_signal(studies):
    write(studies / "scaled.nrrd", 1000.0 * noisy(5.0))
    datastore = studies_folder(str(studies))
    score_images(NOISE, datastore)
    assert datastore.get_image_info("scaled")["noise"] > datastore.get_image_info("d_loud")["noise"]
    assert next_image(noisiest, "noisiest", datastore)["id"] == "d_loud"


def test_noisiest_says_what_it_does_where_nothing_is_scored(studies):
    datastore = studies_folder(str(studies))
    answer = next_image(noisiest, "noisiest", datastore)
    assert answer == {
        "id": "a_broken", "unscored": 4,
        "note": "4 of 4 images have no noise score yet; this is the first of them by name",
    }  # fmt: skip
    score_images(NOISE, datastore, ["c_quiet"])
    assert next_image(noisiest, "noisiest", datastore)["id"] == "c_quiet"
    write(studies / "c_quiet.nrrd", noisy(4.0))
    assert next_image(noisiest, "noisiest", datastore)["unscored"] == 4  # a score of what it was does not count


def test_no_image_is_left_where_all_have_final_labels(studies):
    datastore = studies_folder(str(studies))
    for image in datastore.list_images():
        datastore.save_label(image, str(studies / "c_quiet.nrrd"), "final", {})
    assert next_image(noisiest, "noisiest", datastore) is None


# --- a PACS -----------------------------------------------------------------------------------------------------------


class StandIn:
    """A PACS of three series, one of which it does not send."""

    url = "http://stand-in/dicom-web"

    def __init__(self, files):
        self.files, self.fetched = files, []

    def series(self):
        return [Series(f"1.2.{n}", "1.1", "CT", "", len(self.files)) for n in (1, 2, 3)]

    def find(self, uid):
        return next((series for series in self.series() if series.uid == uid), None)

    def fetch(self, series, folder):
        self.fetched.append(series.uid)
        if series.uid == "1.2.3":
            raise ServiceError("the PACS does not answer")
        folder.mkdir()
        for file in self.files:
            shutil.copyfile(file, folder / file.name)


def test_series_of_a_pacs_are_scored_once_and_not_kept(dicom_series, tmp_path):
    pacs = StandIn(dicom_series)
    datastore = PacsDatastore(pacs, tmp_path / "cache")
    summary = score_images(NOISE, datastore)
    assert (summary["scored"], summary["failed"]) == (2, {"1.2.3": "the PACS does not answer"})
    assert list(datastore.cache.iterdir()) == []
    restarted = PacsDatastore(pacs, tmp_path / "cache")
    assert restarted.get_image_info("1.2.1")["noise"] > 0
    assert restarted.get_image_info("1.2.1")["modality"] == "CT"
    pacs.fetched.clear()
    assert score_images(NOISE, restarted)["unchanged"] == 2
    assert pacs.fetched == ["1.2.3"]  # what was not the image's fault is tried again
    assert next_image(noisiest, "noisiest", restarted)["id"] == "1.2.1"


def test_facts_found_by_another_process_are_seen(tmp_path):
    ours, theirs = InfoFile(tmp_path / "facts.json"), InfoFile(tmp_path / "facts.json")
    assert ours.of("a") == {}
    theirs.update("a", {"noise": 1.0})
    ours.update("a", {"seen": True})
    ours.update("b", {"noise": 2.0})
    assert theirs.of("a") == {"noise": 1.0, "seen": True}
    assert theirs.of("b") == {"noise": 2.0}


# --- over HTTP --------------------------------------------------------------------------------------------------------


pytestmark = pytest.mark.timeout(900)  # starting a server and a scoring process takes minutes on a busy machine


@pytest.fixture(scope="module")
def running(make_server, tmp_path_factory):
    """`meddenoise serve` over the three images and the broken one, nothing scored."""
    folder = tmp_path_factory.mktemp("scored studies")
    fill(folder)
    with make_server(folder) as server:
        yield server


def awaited(server):
    """The scoring task once it has ended."""
    for _ in range(6000):
        task = requests.get(f"{server.url}/scoring/", timeout=30).json()
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task
        time.sleep(0.1)
    pytest.fail(f"scoring did not end: {task}")


@pytest.mark.slow
def test_noisiest_answers_at_once_and_has_the_images_scored_meanwhile(running):
    requests.get(f"{running.url}/info/", timeout=60).raise_for_status()
    start = time.monotonic()
    answer = requests.post(f"{running.url}/activelearning/noisiest", timeout=60)
    assert time.monotonic() - start < 2.0
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "a_broken"
    assert answer.json()["note"].endswith("they are being scored")
    assert Path(answer.json()["path"]).name == "a_broken.nrrd"
    task = awaited(running)
    assert task["status"] == "DONE", task
    order = [running.client.next_sample("noisiest", {}) for _ in range(3)]
    assert [sample["id"] for sample in order] == ["d_loud", "b_medium", "c_quiet"]
    assert order[0]["noise"] == pytest.approx(30.0, rel=0.25)
    listed = requests.get(f"{running.url}/datastore/?output=all", timeout=60).json()["objects"]
    assert listed["d_loud"]["image"]["info"]["noise"] == order[0]["noise"]
    assert listed["d_loud"]["image"]["info"]["strategy"]["noisiest"]["client_id"]
    assert "failed" in listed["a_broken"]["image"]["info"]["noise_score"]


@pytest.mark.parametrize("method", ["noise", "psnr", "ssim"])
def test_every_method_scores_at_once_where_it_is_asked_to(running, method):
    """Without its process in the background, if need be beside one."""
    answer = requests.post(f"{running.url}/scoring/{method}?run_sync=true", timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["method"] == method
    assert answer.json()["scored"] + answer.json()["unchanged"] + answer.json()["without_reference"] == 4
    assert method in requests.get(f"{running.url}/info/", timeout=60).json()["scoring"]


@pytest.mark.parametrize("strategy", ["first", "random", "noisiest"])
def test_strategies_are_listed_and_reached_by_monai_labels_client(running, strategy):
    assert running.client.info()["strategies"][strategy]["description"]
    assert running.path(running.client.next_sample(strategy, {})["id"]).exists()


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/activelearning/quietest", None, 404, "no strategy 'quietest'; this server has: first, random, noisiest"),
        ("/scoring/dice", None, 404, "no score 'dice'; this server has: noise, psnr, ssim"),
        ("/scoring/noise", {"images": ["nobody"]}, 400, "no 'nobody'"),
        ("/scoring/noise", {"max_samples": "many"}, 400, "max_samples must be a whole number"),
        ("/scoring/noise", {"images": ["d_loud"] * 12000}, 400, "too many"),  # nothing in the background would begin
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(running, match, path, body, status, sentence):
    answer = requests.post(running.url + path, json=body, timeout=60)
    assert answer.status_code == status
    match(sentence, answer.json()["detail"])


@pytest.mark.slow
def test_plain_monai_label_server_scores_and_chooses(make_server, tmp_path):
    import sys

    from meddenoise.server.serve import free_port

    fill(tmp_path / "studies")
    app, port = Path(__file__).parents[2] / "apps" / "meddenoise", free_port()
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app)]
    command += ["--studies", str(tmp_path / "studies"), "--host", "127.0.0.1", "--port", str(port)]
    with make_server(tmp_path / "studies", port=port, command=command) as server, warnings.catch_warnings():
        begun = requests.post(f"{server.url}/scoring/noise", timeout=60).json()["status"]
        assert begun in ("SUBMITTED", "RUNNING")  # it may have begun before the server looks
        assert awaited(server)["status"] == "DONE"
        assert server.client.next_sample("noisiest", {})["id"] == "d_loud"

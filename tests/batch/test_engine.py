"""Reading, denoising and writing overlap where asked to, with few images in memory, and end when they are told to."""

import threading
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from meddenoise.batch import BatchOptions, Item, PlainEngine, find_items, work
from meddenoise.batch.engine import AHEAD
from meddenoise.io import find_sources

SECONDS = 30


class Watched:
    """A denoiser that lets a test see and hold what it does."""

    def __init__(self, quick, before=lambda number: None):
        self.card, self.identity, self.device = quick.card, quick.identity, quick.device
        self.count, self._quick, self._before = 0, quick, before

    def __call__(self, volume, **options):
        self.count += 1
        self._before(self.count)
        return self._quick(volume, **options)


@dataclass(frozen=True)
class Told:
    """An image that tells when it is fetched and stored."""

    path: str
    number: int
    fetched: threading.Event = field(default_factory=threading.Event)
    store_when: object = None  # an event, or what waits like one
    identity: str = ""
    size: int = 1

    def fetch(self, folder):
        self.fetched.set()
        return find_sources([self.path])[0]

    def store(self, volume, provenance, folder, run):
        assert self.store_when is None or self.store_when.wait(SECONDS)


def items_of(remotes):
    return [Item(str(remote.number), remote, None, as_dicom=True) for remote in remotes]


@pytest.fixture
def path(tmp_path, make_image):
    return make_image(tmp_path / "scan.nrrd")


def test_outcomes_are_those_of_working_one_by_one(archive, tmp_path, quick):
    (archive / "bad.png").write_text("")
    options = BatchOptions(modality="MR")
    alone = [work(item, quick, options) for item in find_items([archive], tmp_path / "alone", model="m")[0]]
    found = list(PlainEngine([quick]).run(find_items([archive], tmp_path / "out", model="m")[0], options))
    assert {(o.item.key, o.state, o.record and o.record.key) for o in found} == {
        (o.item.key, o.state, o.record and o.record.key) for o in alone
    }
    for kind in ("*.nrrd", "*.gz", "*.png", "*.tif", "*.mha"):
        pairs = zip(sorted((tmp_path / "alone").rglob(kind)), sorted((tmp_path / "out").rglob(kind)), strict=True)
        assert [a.read_bytes() == b.read_bytes() for a, b in pairs] == [True]


def test_on_a_processor_one_image_is_written_before_the_next_is_read(path, quick):
    remotes = [Told(path, number) for number in range(3)]
    for number, _ in enumerate(PlainEngine([quick]).run(items_of(remotes), BatchOptions()), 1):
        assert [remote.fetched.is_set() for remote in remotes] == [n < number for n in range(3)]


def test_next_image_is_read_while_one_is_denoised(path, quick):
    first, second = Told(path, 1), Told(path, 2)

    def until_the_second_is_read(number):
        assert number > 1 or second.fetched.wait(SECONDS)

    engine = PlainEngine([Watched(quick, until_the_second_is_read)], ahead=AHEAD)
    outcomes = list(engine.run(items_of([first, second]), BatchOptions()))
    assert [outcome.reason for outcome in outcomes] == ["", ""]


def test_next_image_is_denoised_while_one_is_written(path, quick):
    begun = threading.Event()
    engine = PlainEngine([Watched(quick, lambda number: begun.set() if number == 2 else None)], ahead=AHEAD)
    outcomes = list(engine.run(items_of([Told(path, 1, store_when=begun), Told(path, 2)]), BatchOptions()))
    assert [outcome.reason for outcome in outcomes] == ["", ""]


def test_few_images_are_held_however_long_the_batch_is(path, quick):
    told, most = [], []

    def endless():
        for number in range(15):
            told.append(number)
            yield items_of([Told(path, number)])[0]

    for done, _ in enumerate(PlainEngine([quick], ahead=AHEAD).run(endless(), BatchOptions()), 1):
        most.append(len(told) - (done - 1))
    assert len(most) == 15
    assert max(most) <= 5  # three at work, one just finished, and one more where two finished at once


def test_each_denoiser_is_used_by_one_thread_at_a_time_and_all_are_used(path, quick):
    at_work, both = set(), threading.Barrier(2, timeout=SECONDS)
    denoisers = []

    def enter(own):
        def hold(number):
            assert own not in at_work
            at_work.add(own)
            if number == 1:
                both.wait()  # opens only while the two denoise at once
            at_work.discard(own)

        return hold

    denoisers = [Watched(quick, enter(own)) for own in "ab"]
    outcomes = list(
        PlainEngine(denoisers, ahead=AHEAD).run(items_of([Told(path, n) for n in range(8)]), BatchOptions())
    )
    assert [outcome.reason for outcome in outcomes] == [""] * 8
    assert sum(denoiser.count for denoiser in denoisers) == 8


def test_closing_ends_the_work_at_once(path, quick):
    denoiser = Watched(quick)
    running = PlainEngine([denoiser], ahead=AHEAD).run(
        items_of([Told(path, number) for number in range(100)]), BatchOptions()
    )
    next(running)
    running.close()
    assert denoiser.count < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]


class SecondWaits:
    """Lets what is stored second wait, and tells that it does."""

    def __init__(self):
        self.waiting, self.go_on, self._calls = threading.Event(), threading.Event(), count(1)

    def wait(self, seconds):
        if next(self._calls) != 2:
            return True
        self.waiting.set()
        return self.go_on.wait(seconds)


def test_interrupt_lets_what_is_written_be_finished_and_told(path, quick):
    gate = SecondWaits()
    items = items_of([Told(path, number, store_when=gate) for number in range(1, 5)])
    running = PlainEngine([quick], ahead=AHEAD).run(items, BatchOptions())
    told = [next(running).item.key]
    assert gate.waiting.wait(SECONDS)
    later = threading.Timer(0.2, gate.go_on.set)
    later.start()

    def interrupted():
        told.append(running.throw(KeyboardInterrupt()).item.key)
        told.extend(outcome.item.key for outcome in running)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert 2 <= len(told) == len(set(told)) < 4


def test_nothing_to_do_is_done(quick):
    assert list(PlainEngine([quick]).run([], BatchOptions())) == []


def test_skipped_items_are_not_read(archive, tmp_path, quick):
    items = find_items([archive], tmp_path / "out", model="m")[0]
    done = {outcome.item.key: outcome.record for outcome in PlainEngine([quick]).run(items, BatchOptions())}
    denoiser = Watched(quick)
    again = PlainEngine([denoiser]).run([replace(item, done=done[item.key]) for item in items], BatchOptions())
    assert {outcome.state for outcome in again} == {"skipped"}
    assert denoiser.count == 0

"""The administrator's calls: what is sent, what is made of the answers, and every way in which they go wrong."""

import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import fault_server
from fault_server import INFO, hang, rawServer, server
from MedDenoiseLib import Errors
from MedDenoiseTrainingLib.Deposit import Deposit
from MedDenoiseTrainingLib.Trainers import trainersOf
from MedDenoiseTrainingLib.Training import trainingOf
from MedDenoiseTrainingLib.TrainingClient import TrainingClient
from MedDenoiseTrainingLib.TrainingTexts import duration, ofTraining, percent
from MedDenoiseTrainingLib.Versions import versionsOf

CONFIG = {"minutes": 20.0, "epochs": 0, "device": ["auto", "cpu"], "prune": True, "patient_from": ""}
TRAINERS = {"student": {"description": "Trains it.", "config": CONFIG}}
COMPARISON = {
    "verdict": "better than 0.2.0: on this site's images its error is smaller by 6.0% +/- 1.0%",
    "change": -0.06,
    "uncertainty": 0.01,
    "site": [
        {
            "name": "patient 1",
            "kind": "pair",
            "modality": "CT",
            "units": "HU",
            "mean_change": -0.06,
            "running": {"error": 0.5, "shift": 0.2},
            "candidate": {"error": 0.47, "shift": -0.1},
        }
    ],
    "built_in": [{"name": "CT phantom", "kind": "phantom", "modality": "CT", "mean_change": None}],
}
MODELS = {
    "student": {
        "active": "0.2.0+site.1",
        "version": "0.2.0+site.1",
        "versions": [
            {"name": "built-in", "version": "0.2.0", "active": False, "made": "2026-01-02T03:04:05+00:00"},
            {
                "name": "0.2.0+site.1",
                "version": "0.2.0+site.1",
                "active": True,
                "comparison": COMPARISON,
                "pictures": ["comparison-patient-1.png"],
            },
        ],
    },
    "gan": {"problem": "its weights are damaged"},
}
TASK = {
    "id": "1",
    "status": "RUNNING",
    "request": {"model": "student"},
    "details": ["measured", "train: step 3 of 40, loss.l1 0.0123, 1 min left"],
    "progress": {
        "recipe": "student",
        "state": "running",
        "stage": "training the student",
        "substage": "refine",
        "step": 3,
        "steps": 40,
        "seconds_left": 61,
        "losses": {"l1": 0.0123},
    },
}
HELPS = {"student": {"minutes": "How long it may take."}}


def site(routes=None):
    """A server that an administrator can use, but for the routes given."""

    def train(call):
        options = call.path == "/train/options"
        call.reply(200, HELPS if options else TASK)

    usual = {
        ("GET", "info"): lambda call: call.reply(
            200, {**INFO, "trainers": TRAINERS, "datastore": {"total": 3, "label_tags": {"final": 2}}}
        ),
        ("GET", "models"): lambda call: call.reply(200, MODELS),
        ("GET", "train"): train,
        ("GET", "datastore"): lambda call: call.reply(200, {}),
        ("PUT", "datastore"): lambda call: (call.drain(), call.reply(200, {"image": "ct-1"})),
        ("DELETE", "datastore"): lambda call: call.reply(200, {}),
    }
    return server({**usual, **(routes or {})})


def agreed(address, **more):
    return TrainingClient(address, consented=lambda host: True, **{"timeout": 3.0, **more})


@pytest.fixture
def deposit(tmp_path):
    """An image and its partner, as files."""
    for name in ("image", "partner"):
        (tmp_path / f"{name}.nrrd").write_bytes(fault_server.IMAGE + name.encode())
    return Deposit("ct 1", str(tmp_path / "image.nrrd"), str(tmp_path / "partner.nrrd"), "patient 1", "CT")


def store(address, deposit, canceled=lambda: False, progress=lambda _progress: None, **more):
    agreed(address, **more).store(deposit, progress, canceled)


def said(running, *methods):
    return [(call.command, call.path) for call in running.calls if call.command in methods]


class TestOverview:
    def test_all_is_read_at_once(self):
        with site() as running:
            overview = agreed(running.address).overview()
        assert (overview.images, overview.pairs) == (3, 2)
        assert [trainer.name for trainer in overview.trainers] == ["student"]
        assert overview.training.running
        assert [one.model for one in overview.models] == ["student", "gan"]
        assert {method for method, _ in said(running, "GET", "POST", "PUT", "DELETE")} == {"GET"}

    def test_server_that_never_trained_has_no_training(self):
        none = {("GET", "train"): lambda call: call.reply(404, {"error": "ServiceError", "detail": "no training"})}
        with site(none) as running:
            overview = agreed(running.address).overview()
        assert overview.training is None
        assert overview.trainers[0].options[0].help == ""

    def test_token_that_is_no_administrators_is_told(self):
        refuse = {
            ("GET", "models"): lambda call: call.reply(403, {"error": "x", "detail": "this needs the role admin"})
        }
        with site(refuse) as running, pytest.raises(Errors.Forbidden, match="needs the role admin"):
            agreed(running.address).overview()

    def test_nothing_is_asked_without_agreement(self):
        with site() as running:
            client = TrainingClient(running.address)
            for call in (client.overview, client.versions, client.training, client.stop):
                with pytest.raises(Errors.ConsentMissing):
                    call()
            assert running.calls == []


class TestUpload:
    def test_image_and_partner_go_to_their_places_with_what_is_known(self, deposit):
        forms, seen = [], []
        put = {("PUT", "datastore"): lambda call: (forms.append(call.drain()), call.reply(200, {}))}
        with site(put) as running:
            store(running.address, deposit, progress=seen.append, token="secret-token")
            calls = [urlsplit(path) for _, path in said(running, "PUT")]
            assert all(call.headers["Authorization"] == "Bearer secret-token" for call in running.calls)
        assert [call.path for call in calls] == ["/datastore/image", "/datastore/label"]
        assert [parse_qs(call.query) for call in calls] == [
            {"image": ["ct 1"]},
            {"image": ["ct 1"], "tag": ["final"]},
        ]
        params = [json.loads(re.search(rb'name="params"\r\n\r\n([^\r]*)', form)[1]) for form in forms]
        assert params == [{"patient": "patient 1", "modality": "CT"}, {}]
        assert b'name="file"; filename="image.nrrd"' in forms[0]
        assert b'name="label"; filename="image.nrrd"' in forms[1]
        assert [one.stage for one in seen][-1] == "storing"
        assert max(one.done for one in seen if one.stage == "sending") == 1.0

    def test_image_alone_needs_no_partner(self, deposit):
        with site() as running:
            store(running.address, Deposit("ct-1", deposit.imagePath))
            assert len(said(running, "PUT")) == 1
            assert said(running, "DELETE") == []

    def test_name_that_is_taken_is_not_overwritten(self, deposit):
        with site({("GET", "datastore"): lambda call: call.reply(200, {"ts": 1})}) as running:
            with pytest.raises(Errors.Refused, match="has an image called 'ct 1' already"):
                store(running.address, deposit)
            assert said(running, "PUT", "DELETE") == []

    @pytest.mark.parametrize("refused", ["/datastore/image", "/datastore/label"])
    def test_nothing_stays_there_where_either_is_refused(self, deposit, refused):
        def put(call):
            call.drain()
            bad = call.path.startswith(refused)
            call.reply(*((400, {"error": "OptionError", "detail": "no room on the disk"}) if bad else (200, {})))

        with site({("PUT", "datastore"): put}) as running:
            with pytest.raises(Errors.Refused, match="no room on the disk"):
                store(running.address, deposit)
            assert said(running, "DELETE") == [("DELETE", "/datastore/image?id=ct+1")]

    @pytest.mark.parametrize(("status", "sure"), [(200, True), (404, True), (400, False), (500, False)])
    def test_image_that_may_have_been_kept_is_said_to_be(self, deposit, status, sure):
        said = {"error": "InputError", "detail": "it is not there"}
        routes = {
            ("PUT", "datastore"): lambda call: (call.drain(), call.reply(400, {"error": "x", "detail": "no room"})),
            ("DELETE", "datastore"): lambda call: call.reply(status, said),
        }
        with site(routes) as running, pytest.raises(Errors.MedDenoiseError, match="no room") as caught:
            store(running.address, deposit)
        assert ("127.0.0.1 may have kept the image 'ct 1'" in str(caught.value)) is not sure

    def test_too_large_an_image_is_told_with_a_way_out_that_helps(self, deposit):
        large = {("PUT", "datastore"): lambda call: call.reply(413, {"error": "InputError", "detail": "at most 1 MiB"})}
        with site(large) as running, pytest.raises(Errors.Refused, match="at most 1 MiB") as caught:
            store(running.address, deposit)
        assert "region" not in caught.value.advice

    def test_cancel_while_sending_is_quick_and_leaves_nothing(self, deposit, tmp_path):
        (tmp_path / "partner.nrrd").write_bytes(b"NRRD" + bytes(30_000_000))
        sent, since = [], []

        def canceled():
            if not since and len(sent) > 3:
                since.append(time.monotonic())
            return bool(since)

        def put(call):
            if call.path.startswith("/datastore/image"):
                call.drain()
                call.reply(200, {})
            else:
                hangAfter(call)

        with site({("PUT", "datastore"): put}) as running:
            with pytest.raises(Errors.Canceled):
                store(running.address, deposit, canceled, sent.append)
            assert time.monotonic() - since[0] < 1.0
            assert said(running, "DELETE") == [("DELETE", "/datastore/image?id=ct+1")]

    def test_cancel_that_comes_too_late_takes_back_what_is_stored(self, deposit):
        done = []

        def put(call):
            call.drain()
            done.append(call.path)
            call.reply(200, {})

        with site({("PUT", "datastore"): put}) as running:
            with pytest.raises(Errors.Canceled):
                store(running.address, deposit, lambda: len(done) == 2)
            assert said(running, "DELETE") == [("DELETE", "/datastore/image?id=ct+1")]

    def test_file_that_is_gone_is_told_and_nothing_is_sent(self, deposit, tmp_path):
        (tmp_path / "partner.nrrd").unlink()
        with site() as running:
            with pytest.raises(Errors.MedDenoiseError, match="cannot be read: No such file"):
                store(running.address, deposit)
            assert said(running, "PUT") == []


def hangAfter(call):
    time.sleep(3)
    call.close_connection = True


CALLS = {
    "overview": lambda client, deposit: client.overview(),
    "training": lambda client, deposit: client.training(),
    "start": lambda client, deposit: client.start("student", {"steps": 3}),
    "stop": lambda client, deposit: client.stop(),
    "versions": lambda client, deposit: client.versions(),
    "activate": lambda client, deposit: client.activate("student", "built-in"),
    "rollBack": lambda client, deposit: client.rollBack("student"),
    "delete": lambda client, deposit: client.delete("student", "0.2.0+site.1"),
    "picture": lambda client, deposit: client.picture("student", "0.2.0+site.1", "comparison-patient-1.png"),
    "store": lambda client, deposit: client.store(deposit, lambda _progress: None, lambda: False),
}
PLACES = [(method, place) for method in ("GET", "POST", "PUT", "DELETE") for place in ("train", "models", "datastore")]
PAGE = b"<!DOCTYPE html><html><form>Sign in</form></html>"


def everywhere(route):
    return site(dict.fromkeys([*PLACES, ("GET", "info")], route))


@pytest.mark.parametrize("call", CALLS)
class TestFaults:
    def fails(self, call, deposit, address, kind, **more):
        with pytest.raises(Errors.MedDenoiseError) as caught:
            CALLS[call](agreed(address, **more), deposit)
        error = caught.value
        assert type(error) is kind, repr(error)
        assert "127.0.0.1" in str(error)
        assert "Errno" not in str(error)
        return str(error)

    def test_refused_connection(self, call, deposit):
        self.fails(call, deposit, fault_server.closedPort(), Errors.CannotConnect)

    def test_server_that_says_nothing(self, call, deposit, monkeypatch):
        for name in ("START_PATIENCE", "CHANGE_PATIENCE"):
            monkeypatch.setattr(f"MedDenoiseTrainingLib.TrainingClient.{name}", 0.2)
        with everywhere(hang) as running:
            assert "gave no answer" in self.fails(call, deposit, running.address, Errors.TimedOut, timeout=0.2)

    def test_connection_closed_without_a_word(self, call, deposit):
        with rawServer(lambda connected: connected.recv(65536)) as address:
            self.fails(call, deposit, address, Errors.BrokenAnswer)

    @pytest.mark.parametrize(
        ("status", "content", "kind"),
        [
            (401, {"error": "Unauthorized", "detail": "a valid token is needed"}, Errors.Unauthorized),
            (403, {"error": "Forbidden", "detail": "this needs the role admin"}, Errors.Forbidden),
            (429, {"error": "Busy", "detail": "a training is running already"}, Errors.Busy),
            (500, b"Internal Server Error", Errors.ServerFailed),
            (503, {"error": "ServiceError", "detail": "the PACS does not answer"}, Errors.Busy),
            (200, PAGE, Errors.ProxyInBetween),
            (404, {"detail": "Not Found"}, Errors.WrongService),
        ],
    )
    def test_answers_that_are_none(self, call, deposit, status, content, kind):
        page = "text/html" if content == PAGE else "application/json"
        with everywhere(lambda asked: (asked.drain(), asked.reply(status, content, page))) as running:
            if call == "picture" and content == PAGE:
                kind = Errors.BrokenAnswer
            sentence = self.fails(call, deposit, running.address, kind)
        if isinstance(content, dict) and "error" in content and status != 401:
            assert content["detail"] in sentence


def test_certificate_that_nobody_vouches_for_gets_neither_token_nor_image(deposit, tmp_path):
    context, pem = fault_server.certificate(tmp_path)
    with server({("GET", "datastore"): lambda call: call.reply(200, {"ts": 1})}, context=context) as running:
        for call in CALLS.values():
            with pytest.raises(Errors.UntrustedCertificate, match="not vouched for"):
                call(agreed(running.address, token="secret-token"), deposit)
        assert running.calls == []
        with pytest.raises(Errors.Refused, match="already"):
            store(running.address, deposit, certificateFile=pem)


WAITING = {
    "overview": lambda client, canceled: client.overview(canceled),
    "training": lambda client, canceled: client.training(canceled),
    "start": lambda client, canceled: client.start("student", {}, canceled),
    "stop": lambda client, canceled: client.stop(canceled),
    "versions": lambda client, canceled: client.versions(canceled),
    "activate": lambda client, canceled: client.activate("student", "x", canceled),
    "rollBack": lambda client, canceled: client.rollBack("student", canceled),
    "delete": lambda client, canceled: client.delete("student", "x", canceled),
    "picture": lambda client, canceled: client.picture("student", "x", "y", canceled),
}


@pytest.mark.parametrize("call", WAITING)
def test_every_call_can_be_given_up_while_it_waits(call):
    asked = []

    def canceled():
        asked.append(1)
        return len(asked) > 3

    with everywhere(hang) as running:
        start = time.monotonic()
        with pytest.raises(Errors.Canceled):
            WAITING[call](agreed(running.address, timeout=30.0), canceled)
        assert time.monotonic() - start < 2.0


class TestTraining:
    def test_options_are_sent_as_they_are_and_what_it_learns_from_comes_back(self):
        bodies = []

        def start(call):
            bodies.append(json.loads(call.drain()))
            call.reply(200, {**TASK, "data": {"patients": 3}, "resumed": True})

        with site({("POST", "train"): start}) as running:
            data = agreed(running.address).start("two_stage", {"minutes": 5.0, "prune": False})
            assert said(running, "POST") == [("POST", "/train/two_stage")]
        assert bodies == [{"minutes": 5.0, "prune": False}]
        assert data == {"patients": 3, "resumed": True}

    @pytest.mark.parametrize(
        "sentence",
        [
            "no images to train on: the datastore is empty",
            "CT images of 1 patient are too few: at least 2 patients are needed",
            "the training would take 9.0 GiB of disk for 3 images, and 1.0 GiB are free",
        ],
    )
    def test_refusal_is_the_servers_own_sentence(self, sentence):
        refuse = {("POST", "train"): lambda call: call.reply(422, {"error": "InputError", "detail": sentence})}
        with site(refuse) as running, pytest.raises(Errors.Refused, match=re.escape(f"refused: {sentence}.")):
            agreed(running.address).start("student", {})

    @pytest.mark.parametrize(("answer", "stopped"), [(b"null", False), (TASK, True)])
    def test_stop_says_whether_there_was_one(self, answer, stopped):
        with site({("DELETE", "train"): lambda call: call.reply(200, answer)}) as running:
            assert agreed(running.address).stop() is stopped

    def test_status_is_told_in_words(self):
        told = ofTraining(trainingOf(TASK))
        assert told == "Student: training the student, refine, step 3 of 40, loss 0.0123, about 61 s left"

    @pytest.mark.parametrize(
        ("status", "progress", "words"),
        [
            ("DONE", {"result": {"verdict": "better than 0.2.0", "published": "0.2.0+site.1"}}, "used from now on as"),
            (
                "DONE",
                {"result": {"verdict": "not better than 0.2.0: x"}},
                "not better than 0.2.0: x. The version in use",
            ),
            ("ERROR", {"problem": "the disk is full"}, "Student failed: the disk is full."),
            ("ERROR", {}, "without saying why"),
            ("STOPPED", {"step": 7, "steps": 9}, "after step 7 of 9. With the same images"),
            ("RUNNING", {"stage": "looking at the images"}, "Student: looking at the images"),
            ("SUBMITTED", {}, "Student: starting"),
        ],
    )
    def test_every_end_is_told_in_words(self, status, progress, words):
        told = ofTraining(trainingOf({"status": status, "request": {"model": "student"}, "progress": progress}))
        assert words in told

    @pytest.mark.parametrize(
        "answer", [None, [], {}, "running", {"status": None}, {"status": "RUNNING", "progress": 3}]
    )
    def test_answers_that_make_no_sense_break_nothing(self, answer):
        assert ofTraining(trainingOf(answer))

    def test_times_are_said_as_people_do(self):
        assert [duration(seconds) for seconds in (0, 89, 600, 7200)] == ["0 s", "89 s", "10 min", "2.0 h"]


class TestTrainers:
    def test_types_come_from_the_defaults_and_choices_from_lists(self):
        (trainer,) = trainersOf({"trainers": TRAINERS}, HELPS)
        options = {option.name: option for option in trainer.options}
        assert list(options) == list(CONFIG)
        assert options["device"].choices == ("auto", "cpu")
        assert [options[name].default for name in CONFIG] == [20.0, 0, "auto", True, ""]
        assert options["minutes"].help == "How long it may take."
        assert options["patient_from"].title == "Patient from"

    @pytest.mark.parametrize("announced", [None, [], {"student": None}, {"student": {"config": {"a": None, "b": []}}}])
    def test_what_makes_no_sense_is_passed_over(self, announced):
        assert all(trainer.options == () for trainer in trainersOf({"trainers": announced}, None))


class TestVersions:
    def test_versions_come_with_their_comparison(self):
        student, gan = versionsOf(MODELS, "host")
        assert gan.problem == "its weights are damaged"
        assert student.active.name == "0.2.0+site.1"
        assert student.listed[0].made == "2026-01-02 03:04"
        case, phantom = student.active.cases
        assert (case.errors, case.shifts, case.units) == ((0.5, 0.47), (0.2, -0.1), "HU")
        assert phantom.errors == (None, None)
        assert percent(student.active.change, student.active.uncertainty) == "-6.0 % ± 1.0"

    def test_names_are_quoted_on_their_way(self):
        done = {(method, "models"): lambda call: call.reply(200, {}) for method in ("POST", "DELETE")}
        with site(done) as running:
            client = agreed(running.address)
            client.activate("student", "0.2.0+site.1")
            client.rollBack("student")
            client.delete("student", "0.2.0+site.1")
            assert said(running, "POST", "DELETE") == [
                ("POST", "/models/student/0.2.0%2Bsite.1/activate"),
                ("POST", "/models/student/rollback"),
                ("DELETE", "/models/student/0.2.0%2Bsite.1"),
            ]

    @pytest.mark.parametrize("answer", [[], 3, "x"])
    def test_answer_that_lists_nothing_is_broken(self, answer):
        models = {("GET", "models"): lambda call: call.reply(200, answer)}
        with site(models) as running, pytest.raises(Errors.BrokenAnswer):
            agreed(running.address).versions()

    def test_picture_is_one_or_an_error(self):
        png = b"\x89PNG\r\n\x1a\n..."
        with site({("GET", "models"): lambda call: call.reply(200, png, "image/png")}) as running:
            assert agreed(running.address).picture("student", "1", "a b.png") == png
            assert running.calls[-1].path == "/models/student/1/pictures/a%20b.png"

"""What is kept between two runs of the application, and what is not."""

import pytest

from MedDenoiseLib.Errors import AddressError
from MedDenoiseLib.Settings import SessionSecrets, Settings


class Store:
    """Keeps texts as QSettings does on disk: everything comes back as text."""

    def __init__(self):
        self.kept = {}

    def value(self, key, default=None):
        return self.kept.get(key, default)

    def setValue(self, key, value):
        self.kept[key] = str(value)

    def remove(self, key):
        self.kept.pop(key, None)


@pytest.fixture
def store():
    return Store()


def test_newest_address_comes_first_and_once(store):
    settings = Settings(store)
    for text in ("localhost:8000", "https://b.example:8443", "http://LOCALHOST:8000/"):
        settings.address = text
    assert Settings(store).addresses == ["http://localhost:8000", "https://b.example:8443"]
    assert Settings(store).address == "http://localhost:8000"


def test_ten_addresses_are_kept(store):
    settings = Settings(store)
    for port in range(8000, 8015):
        settings.address = f"localhost:{port}"
    assert settings.addresses == [f"http://localhost:{port}" for port in range(8014, 8004, -1)]


def test_damaged_history_is_passed_over(store):
    store.setValue("MedDenoise/addresses", "nonsense:// http://anna:secret@b.example http://localhost:8000")
    assert Settings(store).addresses == ["http://localhost:8000"]


def test_address_that_is_none_is_not_kept(store):
    with pytest.raises(AddressError):
        Settings(store).address = "http://anna:secret@b.example"
    assert store.kept == {}


def test_agreement_holds_for_one_host_until_it_is_withdrawn(store):
    Settings(store).agree("a.example")
    Settings(store).agree("b.example")
    Settings(store).agree("a.example")
    assert Settings(store).agreedHosts == ["a.example", "b.example"]
    assert Settings(store).hasAgreed("a.example")
    assert not Settings(store).hasAgreed("a.example.evil.example")
    Settings(store).withdraw("a.example")
    assert not Settings(store).hasAgreed("a.example")
    assert Settings(store).hasAgreed("b.example")


def test_agreement_is_asked_for_without_touching_qt(store):
    settings = Settings(store)
    settings.agree("a.example")
    store.value = None  # the job's thread asks, and Qt's settings belong to the GUI's
    assert settings.hasAgreed("a.example")
    assert not settings.hasAgreed("b.example")


def test_model_is_remembered_by_modality(store):
    Settings(store).setModelFor("CT", "student")
    assert Settings(store).modelFor("CT") == "student"
    assert Settings(store).modelFor("MR") == ""


def test_certificate_file_is_remembered_and_forgotten(store):
    settings = Settings(store)
    settings.certificate = "/somewhere/my chain.pem"
    assert Settings(store).certificate == "/somewhere/my chain.pem"
    settings.certificate = ""
    assert (settings.certificate, store.kept) == ("", {})


def test_token_is_known_until_the_application_ends_and_never_shown():
    secrets = SessionSecrets()
    secrets.setToken("http://a.example:80", "hush-hush")
    assert secrets.token("http://a.example:80") == "hush-hush"
    assert secrets.token("http://b.example:80") == ""
    assert "hush" not in repr(secrets)
    secrets.setToken("http://a.example:80", "")
    assert secrets.token("http://a.example:80") == ""
    assert SessionSecrets().token("http://a.example:80") == ""

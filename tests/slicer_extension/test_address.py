"""What a user may enter as the address of a server, and what is made of it."""

import pytest

from MedDenoiseLib.Address import hostOf, isThisMachine, serverAddress
from MedDenoiseLib.Errors import AddressError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("  HTTP://LocalHost:8000/ ", "http://localhost:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("server.example:8443", "https://server.example:8443"),
        ("https://server.example", "https://server.example:443"),
        ("http://server.example/denoise/", "http://server.example:80/denoise"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example:443"),
    ],
)
def test_address_has_one_form(text, address):
    assert serverAddress(text) == address
    assert serverAddress(address) == address


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ftp://server.example", "ftp://"),
        ("file:///etc/passwd", "file://"),
        ("http://anna:secret@server.example", "password"),
        ("http://token@server.example", "password"),
        ("http://server.example:99999", "99999"),
        ("http://server.example:abc", "abc"),
        ("http://server.example:0", "no port"),
        ("http://", "no host"),
        ("http://:8000", "no host"),
        ("http://my server:8000", "space"),
        ("http://server.example\r\nX: y", "space"),
        ("http:\\\\server", "character"),
        ("http://[::1", "understood"),
        ("http://0.0.0.0:8000", "listens"),
        ("http://[::]:8000", "listens"),
        ("http://server.example/?a=b", "after the path"),
        ("http://server.example/#top", "after the path"),
        ("http://ü..example", "no name"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason_and_a_way_out(text, word):
    with pytest.raises(AddressError) as caught:
        serverAddress(text)
    assert word in str(caught.value)
    assert caught.value.advice
    assert "secret" not in str(caught.value)


def test_password_in_an_address_is_not_repeated():
    with pytest.raises(AddressError) as caught:
        serverAddress("https://anna:hunter2@server.example")
    assert "hunter2" not in str(caught.value) + caught.value.advice


@pytest.mark.parametrize(
    ("address", "host", "local"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", True),
        ("http://127.8.7.6:8000", "127.8.7.6", True),
        ("http://[::1]:8000", "::1", True),
        ("http://localhost:8000", "localhost", True),
        ("https://Server.Example:8443/denoise", "server.example", False),
        ("http://127.0.0.1.evil.example:80", "127.0.0.1.evil.example", False),
    ],
)
def test_host_is_what_the_user_agrees_to(address, host, local):
    assert hostOf(address) == host
    assert isThisMachine(host) == local

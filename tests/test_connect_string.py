"""connect_string.py: what QuestDB's clients would do with QDB_CLIENT_CONF is what we do, or we refuse it in one line
without showing a secret.
"""

from __future__ import annotations

import pytest

from tickbay.connect_string import FIXED, parse, without_secrets
from tickbay.errors import ConfigError

CANARY = "canary"


def refusal(text: str) -> str:
    """The one line that a connect string is refused with. It names the variable and shows no secret."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "QDB_CLIENT_CONF")
    line = str(caught.value)
    assert line.startswith("QDB_CLIENT_CONF: ") and "\n" not in line
    assert CANARY not in line
    return line


def test_every_key_becomes_the_setting_that_means_the_same() -> None:
    text = "https::addr=db.example.com:9443;username=u;password=p;token=t;tls_roots=/ca.pem;"
    assert parse(text, "") == {
        "tls": "on",
        "host": "db.example.com",
        "port": "9443",
        "user": "u",
        "password": "p",
        "token": "t",
        "ca_file": "/ca.pem",
    }


def test_the_scheme_says_whether_it_is_encrypted() -> None:
    assert parse("http::addr=h:1;", "")["tls"] == "off"
    assert parse(" https::addr=h:1\n", "")["tls"] == "on"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("db", "db", "9000"),
        ("db:1", "db", "1"),
        ("10.0.0.1:9001", "10.0.0.1", "9001"),
        ("[::1]", "::1", "9000"),
        ("[fe80::2]:9001", "fe80::2", "9001"),
    ],
)
def test_an_address_is_a_name_or_a_number_and_its_port_is_9000_unless_said(address: str, host: str, port: str) -> None:
    assert parse(f"http::addr={address};", "") == {"tls": "off", "host": host, "port": port}


@pytest.mark.parametrize(
    "address", ["", ":9000", "::1", "h:", "h:port", "h:1,i:2", "h,i", "u@h", "h/x", "h i", "[h]:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "expected one host:port" in refusal(f"http::addr={address};")


def test_a_value_may_have_an_equals_sign_and_a_semicolon_that_is_written_twice() -> None:
    assert parse("http::password=a;;b=c==;username=u", "") == {"tls": "off", "password": "a;b=c==", "user": "u"}


def test_what_we_do_anyway_may_be_said() -> None:
    for key, values in FIXED.items():
        for value in values:
            assert parse(f"http::{key}={value};", "") == {"tls": "off"}


@pytest.mark.parametrize("setting", ["auto_flush=on", "protocol_version=1", "tls_verify=unsafe_off"])
def test_another_way_than_ours_is_refused_and_ours_is_named(setting: str) -> None:
    key = setting.partition("=")[0]
    assert f"{key} can only be {FIXED[key][0]}" in refusal(f"http::addr=h:1;password={CANARY};{setting};")


@pytest.mark.parametrize("text", [f"tcp::addr=h:1;token={CANARY};", "addr=h:9009;", CANARY, "HTTP::addr=h;", "::", ";"])
def test_another_protocol_is_refused(text: str) -> None:
    assert "expected http::addr=host:port" in refusal(text)


def test_a_key_that_would_be_ignored_is_refused_and_named_with_those_that_are_known() -> None:
    line = refusal(f"http::addr=h:1;retry_timeout=5;password={CANARY};")
    assert "retry_timeout cannot be set" in line and "known are addr, username, password, token" in line


def test_a_setting_without_a_value_is_refused() -> None:
    assert "expected key=value" in refusal(f"http::addr=h:1;{CANARY};")


@pytest.mark.parametrize("key", ["addr", "username", "password", "token", "auto_flush"])
def test_a_setting_that_is_given_twice_is_refused(key: str) -> None:
    value = "off" if key == "auto_flush" else CANARY
    assert f"{key} is set twice" in refusal(f"http::{key}={value};{key}={value};")


def test_the_rest_of_a_password_is_not_taken_for_the_name_of_a_key() -> None:
    """A message showed what stands behind a semicolon of the password that was not written twice."""
    for key in ("password", "token"):
        assert "one of the keys cannot be set" in refusal(f"http::addr=h:1;{key}=secret;{CANARY}=;")


def test_a_password_that_a_second_semicolon_made_part_of_the_address_is_not_shown() -> None:
    """The port was shown as it was not understood."""
    assert "addr" in refusal(f"http::addr=h:9000;;password={CANARY};")


def test_a_key_of_two_lines_is_refused_in_one() -> None:
    assert "one of the keys" in refusal(f"http::addr=h:1;a\n{CANARY}=1;")


def test_without_secrets_everything_else_stays() -> None:
    text = f"https::addr=h:1;username=a;;b;password={CANARY};token={CANARY};tls_roots=/x;"
    assert without_secrets(text) == "https::addr=h:1;username=a;;b;tls_roots=/x;"
    assert without_secrets(f"http::addr=h:1; password={CANARY};;{CANARY}") == "http::addr=h:1;"


def test_what_cannot_be_parsed_has_nothing_left_without_its_secrets() -> None:
    assert without_secrets(f"http::password=a;{CANARY};") == ""

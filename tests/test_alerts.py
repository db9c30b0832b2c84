"""Alert rules, their tests and their runbook; who is told: Alertmanager's configuration. With the real tools."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from servers.prometheus import tool
from tickbay.metrics.catalogue import every_metric

ROOT = Path(__file__).parent.parent
MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "prometheus" / "rules" / "tickbay.yml"
TESTS = Path(__file__).with_name("alerts.yml")
RUNBOOK = ROOT / "docs" / "runbook.md"
START = MONITORING / "alertmanager" / "start.sh"
EMAIL = {"SMTP_HOST": "mail.example", "SMTP_FROM": "nas@example.org", "SMTP_TO": "me@example.org"}
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_the_tools_find_nothing_wrong_with_rules_and_configuration() -> None:
    assert "24 rules found" in tool("promtool", "check", "rules", str(RULES))
    tool("promtool", "check", "config", str(MONITORING / "prometheus" / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_is_silent_when_it_should_be() -> None:
    assert "SUCCESS" in tool("promtool", "test", "rules", str(TESTS))


def test_a_rule_that_is_wrong_fails_these_tests(tmp_path: Path) -> None:
    """The test above can fail."""
    (tmp_path / "rules.yml").write_text(RULES.read_text().replace("tickbay_sink_lag_seconds > 300", "up > 300"))
    told = TESTS.read_text().replace("../deploy/monitoring/prometheus/rules/tickbay.yml", "rules.yml")
    (tmp_path / "alerts.yml").write_text(told)
    with pytest.raises(AssertionError, match="TickbaySinkLag"):
        tool("promtool", "test", "rules", str(tmp_path / "alerts.yml"))


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    asked = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in asked if case["exp_alerts"]} == set(ALERTS)
    assert {case["alertname"] for case in asked if not case["exp_alerts"]} == set(ALERTS)


def test_every_alert_has_a_severity_and_its_paragraph_in_the_runbook() -> None:
    """A heading's anchor is its text in lower case."""
    paragraphs = dict(re.findall(r"^## (\w+)\n\n\*(\w+)\* · ", RUNBOOK.read_text(), re.MULTILINE))
    assert paragraphs == {name: alert["labels"]["severity"] for name, alert in ALERTS.items()}
    for name, alert in ALERTS.items():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}


def test_rules_use_only_metrics_that_there_are() -> None:
    known = {metric.name for metric in every_metric()}
    used = {SUFFIXES.sub("", name) for rule in rules() for name in re.findall(r"\btickbay_\w+", rule["expr"])}
    assert used <= known
    assert len(used) > 15


# -------- who is told


def configured(folder: Path, **env: str) -> str:
    """The configuration that start.sh makes; amtool finds nothing wrong with it."""
    done = started(folder, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"--config.file={folder}/alertmanager.yml\n", "Alertmanager would be started with it"
    said = tool("amtool", "check-config", str(folder / "alertmanager.yml"))
    assert "1 receivers" in said and "1 templates" in said
    return (folder / "alertmanager.yml").read_text()


def started(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(START), str(folder), "echo"]
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, env=path | env, capture_output=True, text=True, timeout=20, check=False)


def test_e_mail_and_telegram_are_told_and_their_secrets_stay_in_their_files(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("canary-1")
    telegram = {"TELEGRAM_CHAT_ID": "-100123", "TELEGRAM_BOT_TOKEN_FILE": str(token)}
    text = configured(tmp_path, **EMAIL, SMTP_USER="nas", SMTP_PASSWORD="canary-2", **telegram)
    assert "canary" not in text
    (receiver,) = yaml.safe_load(text)["receivers"]
    (email,), (chat,) = receiver["email_configs"], receiver["telegram_configs"]
    assert (email["to"], email["smarthost"], email["auth_username"]) == ("me@example.org", "mail.example:587", "nas")
    assert (chat["chat_id"], chat["bot_token_file"]) == (-100123, str(token))
    kept = Path(email["auth_password_file"])
    assert kept.read_text() == "canary-2"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (kept, tmp_path / "alertmanager.yml")} == {0o600}


def test_one_of_them_is_enough_and_with_none_it_says_that_nobody_is_told(tmp_path: Path) -> None:
    assert "telegram" not in configured(tmp_path, **EMAIL)
    assert "email" not in configured(tmp_path, TELEGRAM_CHAT_ID="7", TELEGRAM_BOT_TOKEN="t")
    configured(tmp_path)
    assert "nobody is notified" in started(tmp_path, {}).stderr


def test_what_is_set_cannot_become_another_setting(tmp_path: Path) -> None:
    hostile = 'it\'s # "x": {{ .Labels }} $(id) `id`'
    text = configured(tmp_path, **EMAIL | {"SMTP_USER": hostile, "SMTP_PASSWORD": "p"})
    assert yaml.safe_load(text)["receivers"][0]["email_configs"][0]["auth_username"] == hostile


@pytest.mark.parametrize(
    ("env", "answer"),
    [
        ({"SMTP_HOST": "mail.example"}, "SMTP_HOST needs SMTP_FROM and SMTP_TO"),
        (EMAIL | {"SMTP_USER": "nas"}, "set SMTP_PASSWORD_FILE (a file with the secret) or SMTP_PASSWORD"),
        (EMAIL | {"SMTP_USER": "n", "SMTP_PASSWORD_FILE": "/none"}, "SMTP_PASSWORD_FILE: /none cannot be read"),
        (EMAIL | {"SMTP_TO": "a\nb: c"}, "a setting has more than one line"),
        ({"TELEGRAM_CHAT_ID": "@me"}, "TELEGRAM_CHAT_ID is not a number"),
        ({"TELEGRAM_CHAT_ID": "7"}, "set TELEGRAM_BOT_TOKEN_FILE (a file with the secret) or TELEGRAM_BOT_TOKEN"),
    ],
)
def test_a_setting_that_cannot_be_stops_the_start_in_one_line(tmp_path: Path, env: dict[str, str], answer: str) -> None:
    done = started(tmp_path, env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"alertmanager: {answer}\n")


def test_a_message_says_what_is_wrong_since_when_and_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(
        '{"receiver": "person", "status": "firing",'
        ' "commonLabels": {"alertname": "TickbayDown", "instance": "nas:8001", "collector": "c2", "env": "lab"},'
        '"alerts": [{"status": "firing", "labels": {"severity": "page"}, "startsAt": "2026-11-21T08:00:00Z",'
        '"annotations": {"summary": "it\'s down", "description": "Why?", "runbook": "docs/runbook.md#tickbaydown"}}]}'
    )
    render = ["template", "render", f"--template.glob={START.parent}/tickbay.tmpl", f"--template.data={data}"]
    text = tool("amtool", *render, '--template.text={{ template "tickbay.subject" . }}|{{ template "tickbay.text" . }}')
    assert text.startswith("1 alert(s): TickbayDown nas:8001 c2 (lab)|page: it's down\nWhy?\n")
    assert "since 2026-11-21 08:00:00 UTC; what to do: docs/runbook.md#tickbaydown" in text

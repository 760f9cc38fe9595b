#!/usr/bin/env python3
"""How long from a system call until SQL shows it, and until its alert is in the alert file.

  sudo benches/latency.py target/release/bailiwick

Starts the binary over a temporary folder, opens files that do not exist one
after the other, and looks for each in SQL and in the alert file. The baseline
is the same question asked about nothing: what is above it is the way of the
event. Prints p50 and p99 of both and their ratio to the baseline.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

ROUNDS = 60
RULES = """\
- rule: Marked file opened
  desc: the bench opened a file
  condition: evt.type in (open, openat) and fd.name startswith /nonexistent/latency-
  output: marked (file=%fd.name)
  priority: NOTICE
"""
CONFIG = """\
[ingest]
listen = "127.0.0.1:0"
[query]
http_listen = "127.0.0.1:0"
pgwire_listen = "127.0.0.1:0"
[collector.webhook]
listen = "127.0.0.1:0"
"""


def started(binary, folder):
    for name, text in [("rules.yaml", RULES), ("bailiwick.toml", CONFIG)]:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    command = [binary, "--config", "bailiwick.toml", "--data-dir", "data", "up"]
    command += ["--rules", "rules.yaml", "--alert-file", "alerts.jsonl"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    url = None
    for line in process.stdout:
        found = re.search(r"SQL over HTTP (http://\S+)", line)
        url = found.group(1) if found else url
        if "ready in" in line:
            return process, url
    sys.exit("the binary ended before it was ready")


class Sql:
    def __init__(self, url, folder):
        self.url = url
        with open(os.path.join(folder, "data/operator.token"), encoding="utf-8") as file:
            self.token = file.read().strip()

    def count(self, name):
        statement = f"SELECT count(*) FROM syscalls WHERE fd_name = '{name}'"
        request = urllib.request.Request(self.url + "?format=json", data=statement.encode())
        request.add_header("authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["rows"][0][0]


def alerted(folder, name):
    try:
        with open(os.path.join(folder, "alerts.jsonl"), encoding="utf-8") as file:
            return name in file.read()
    except FileNotFoundError:
        return False


def seconds_until(condition):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > 30:
            sys.exit("waited for 30 s in vain")
        time.sleep(0.002)
    return time.monotonic() - began


def opened(name):
    try:
        os.close(os.open(name, os.O_RDONLY))
    except FileNotFoundError:
        pass


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] * 1000


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        process, url = started(binary, folder)
        try:
            time.sleep(2)
            sql = Sql(url, folder)
            baseline, visible, alerts = [], [], []
            for number in range(ROUNDS):
                baseline.append(seconds_until(lambda: sql.count("/nothing") == 0))
                name = f"/nonexistent/latency-sql-{number}-end"
                opened(name)
                visible.append(seconds_until(lambda: sql.count(name) > 0))
                name = f"/nonexistent/latency-alert-{number}-end"
                opened(name)
                alerts.append(seconds_until(lambda: alerted(folder, name)))
        finally:
            process.terminate()
            process.wait()
    base = percentile(baseline, 0.5)
    for label, times in [("baseline: one question", baseline), ("visible in SQL", visible), ("alert in the file", alerts)]:
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        print(f"{label:<24} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   p50 / baseline {p50 / base:5.1f}x")


if __name__ == "__main__":
    main()
